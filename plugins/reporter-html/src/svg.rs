//! Figures as SVG: plain elements with classes, so that colours are the page's.

use prony_plugin_sdk::words::html;
use std::fmt::Write as _;

/// Width of every figure, in its own pixels.
pub(crate) const WIDTH: f64 = 640.0;
/// Height of a line of text.
pub(crate) const LINE: f64 = 16.0;
/// Width of a letter of 12 pixels, bold, at most on average.
const LETTER: f64 = 8.2;

/// The end of a text that is at its place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A figure that is being drawn.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

impl Svg {
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    pub(crate) fn rect(&mut self, at: (f64, f64), size: (f64, f64), class: &str, title: &str) {
        let _ = write!(
            self.body,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" class="{class}">{}</rect>"#,
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0),
            titled(title)
        );
    }

    /// A line along a path.
    pub(crate) fn path(&mut self, path: &str, class: &str) {
        let _ = write!(self.body, r#"<path d="{path}" class="{class}"/>"#);
    }

    /// A mark: one shape for each number.
    pub(crate) fn mark(&mut self, at: (f64, f64), shape: usize, class: &str, title: &str) {
        let (x, y) = at;
        let path = match shape % 5 {
            0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", x - 4.0),
            1 => format!("M{:.1} {:.1}h7.6v7.6h-7.6z", x - 3.8, y - 3.8),
            2 => format!("M{x:.1} {:.1}l5 9h-10z", y - 5.5),
            3 => format!("M{x:.1} {:.1}l5 5l-5 5l-5 -5z", y - 5.0),
            _ => format!("M{x:.1} {:.1}l5 -9h-10z", y + 5.5),
        };
        let _ = write!(
            self.body,
            r#"<path d="{path}" class="{class}">{}</path>"#,
            titled(title)
        );
    }

    pub(crate) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.body,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#,
            at.0,
            at.1,
            html(text)
        );
    }

    /// The whole, named by the elements with these ids.
    pub(crate) fn finish(self, height: f64, title: &str, described: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-labelledby="{title}" aria-describedby="{described}">{}</svg>"#,
            self.body
        )
    }
}

fn titled(title: &str) -> String {
    if title.is_empty() {
        return String::new();
    }
    format!("<title>{}</title>", html(title))
}

/// A path through points; what would not move by half a pixel is left out.
pub(crate) fn polyline(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    let mut last: Option<(f64, f64)> = None;
    let mut skipped = None;
    for point in points {
        let Some(before) = last else {
            let _ = write!(path, "M{:.1} {:.1}", point.0, point.1);
            last = Some(point);
            continue;
        };
        if (point.0 - before.0).abs() < 0.5 && (point.1 - before.1).abs() < 0.5 {
            skipped = Some(point);
            continue;
        }
        let _ = write!(path, "L{:.1} {:.1}", point.0, point.1);
        last = Some(point);
        skipped = None;
    }
    if let Some(point) = skipped {
        let _ = write!(path, "L{:.1} {:.1}", point.0, point.1);
    }
    path
}

/// Width of a text, at most.
pub(crate) fn width(text: &str) -> f64 {
    let wide = text.chars().filter(|it| *it > '\u{2e7f}').count() as f64;
    (text.chars().count() as f64 + wide) * LETTER
}

/// The beginning of a text that fits, with an ellipsis if there is more.
pub(crate) fn fit(text: &str, most: f64) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for char in text.chars() {
        if width(&short) + 2.0 * LETTER + width(&char.to_string()) > most {
            break;
        }
        short.push(char);
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(
            html("</script><img onerror='a\"&\u{1b}\u{202e}"),
            "&lt;/script&gt;&lt;img onerror=&#39;a&quot;&amp;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_text_that_does_not_fit_is_cut() {
        assert_eq!(fit("abc", 100.0), "abc");
        let cut = fit(&"abc".repeat(50), 100.0);
        assert!(cut.ends_with('…') && width(&cut) <= 100.0, "{cut}");
        assert!(width(&fit(&"漢字".repeat(50), 100.0)) <= 100.0);
    }

    #[test]
    fn a_line_has_its_ends_and_no_needless_points() {
        let points = (0..=1000).map(|it| (f64::from(it) / 100.0, 0.0));
        let path = polyline(points);
        assert!(
            path.starts_with("M0.0 0.0") && path.ends_with("L10.0 0.0"),
            "{path}"
        );
        assert!(path.matches('L').count() <= 21, "{path}");
    }
}
