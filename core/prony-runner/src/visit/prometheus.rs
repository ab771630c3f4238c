//! The text format of Prometheus, as far as values and labels are looked up in it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

/// Sum of the samples of `metric` over its sets of labels; `None` without a sample, or if one
/// is no finite number.
pub(super) fn sum(text: &str, metric: &str) -> Option<f64> {
    let mut sum = None;
    for sample in samples(text, metric) {
        let value = sample.value()?;
        sum = Some(sum.unwrap_or(0.0) + value);
    }
    sum.filter(|it: &f64| it.is_finite())
}

/// Value of `label` in the first sample of `metric` that has it.
pub(super) fn label(text: &str, metric: &str, label: &str) -> Option<String> {
    samples(text, metric).find_map(|sample| sample.label(label))
}

/// A sample: what stands behind its name.
struct Sample<'t>(&'t str);

fn samples<'t>(text: &'t str, metric: &str) -> impl Iterator<Item = Sample<'t>> {
    text.lines().filter_map(move |line| {
        let rest = line.trim_start().strip_prefix(metric)?;
        rest.starts_with(['{', ' ', '\t'])
            .then_some(Sample(rest.trim_start()))
    })
}

impl Sample<'_> {
    fn value(&self) -> Option<f64> {
        let mut rest = self.0;
        if let Some(labels) = rest.strip_prefix('{') {
            let mut labels = Labels(labels);
            labels.by_ref().for_each(drop);
            rest = labels.0.strip_prefix('}')?;
        }
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        value.is_finite().then_some(value)
    }

    fn label(&self, name: &str) -> Option<String> {
        let mut labels = Labels(self.0.strip_prefix('{')?);
        labels.find_map(|(known, value)| (known == name).then_some(value))
    }
}

/// Labels of a sample, and in the end the text from their closing brace on.
struct Labels<'t>(&'t str);

impl<'t> Iterator for Labels<'t> {
    type Item = (&'t str, String);

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.trim_start_matches([',', ' ', '\t']);
        let (name, rest) = self.0.split_once('=')?;
        if name.contains('}') {
            return None;
        }
        let rest = rest.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.0 = &rest[at + 1..];
                    return Some((name.trim(), value));
                }
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP a:tokens_total Tokens, "quoted".
# TYPE a:tokens_total counter
a:tokens_total{engine="0",model="x, y}\"z"} 3.0 1395066363000
a:tokens_total{engine="1", model="x",} 4
a:tokens_total_created 1.7e9
	plain 1.5e2
info{enabled="True",path="C:\\a\nb"} 1.0
bad NaN
worse{open="
more +Inf
"#;

    #[test]
    fn samples_are_summed_over_labels() {
        assert_eq!(sum(TEXT, "a:tokens_total"), Some(7.0));
        assert_eq!(sum(TEXT, "plain"), Some(150.0));
        for absent in [
            "a:tokens",
            "tokens_total",
            "bad",
            "worse",
            "more",
            "",
            "engine",
        ] {
            assert_eq!(sum(TEXT, absent), None, "{absent}");
        }
    }

    #[test]
    fn labels_are_unescaped() {
        let found = |metric, name| label(TEXT, metric, name);
        assert_eq!(found("info", "enabled").as_deref(), Some("True"));
        assert_eq!(found("info", "path").as_deref(), Some("C:\\a\nb"));
        assert_eq!(
            found("a:tokens_total", "model").as_deref(),
            Some("x, y}\"z")
        );
        assert_eq!(found("info", "absent"), None);
        assert_eq!(found("worse", "open"), None);
        assert_eq!(found("plain", "enabled"), None);
    }
}
