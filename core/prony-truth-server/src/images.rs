//! The images of a chat request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Number of images in the messages of `request`. Fails on invalid content; an unknown
/// part is an error and never skipped.
pub(crate) fn count(request: &Value) -> Result<u32, String> {
    let mut images = 0;
    for message in request["messages"].as_array().into_iter().flatten() {
        for part in message["content"].as_array().into_iter().flatten() {
            match part["type"].as_str() {
                Some("text") if part["text"].is_string() => {}
                Some("image_url") => {
                    check(&part["image_url"]["url"])?;
                    images += 1;
                }
                _ => return Err("a content part is neither a text nor an `image_url`".to_owned()),
            }
        }
    }
    Ok(images)
}

fn check(url: &Value) -> Result<(), String> {
    let file = url
        .as_str()
        .and_then(|url| url.strip_prefix("data:image/"))
        .and_then(|rest| rest.split_once(";base64,"))
        .and_then(|(_, data)| STANDARD.decode(data).ok())
        .ok_or("an `image_url` is not a `data:image/…;base64,…` URL")?;
    if is_image(&file) {
        Ok(())
    } else {
        Err("an image is neither PNG nor JPEG nor WebP nor GIF".to_owned())
    }
}

/// Returns `true` if the first bytes are those of an image, whatever the media type.
fn is_image(file: &[u8]) -> bool {
    const STARTS: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"];
    STARTS.iter().any(|start| file.starts_with(start))
        || (file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(file: &[u8]) -> Value {
        let url = format!("data:image/png;base64,{}", STANDARD.encode(file));
        json!({ "type": "image_url", "image_url": { "url": url } })
    }

    fn with(parts: &[Value]) -> Result<u32, String> {
        count(&json!({ "messages": [
            { "role": "system", "content": "s" },
            { "role": "user", "content": parts },
        ] }))
    }

    #[test]
    fn images_are_counted_wherever_they_stand() {
        let text = json!({ "type": "text", "text": "p" });
        let png = image(b"\x89PNG\r\n\x1a\n and so on");
        assert_eq!(count(&json!({ "prompt": "p" })), Ok(0));
        assert_eq!(count(&json!({ "messages": [{ "content": "p" }] })), Ok(0));
        assert_eq!(with(std::slice::from_ref(&text)), Ok(0));
        assert_eq!(with(&[png.clone(), text.clone()]), Ok(1));
        assert_eq!(with(&[png.clone(), text, png]), Ok(2));
        for start in [
            &b"\xff\xd8\xff\xe0"[..],
            b"GIF87a",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBPVP8 ",
        ] {
            assert_eq!(with(&[image(start)]), Ok(1), "{}", start.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for file in [
            &b""[..],
            b"text",
            b"\x89PNG",
            b"RIFF\0\0\0\0WAVEfmt ",
            b"\xff\xd8",
        ] {
            let error = with(&[image(file)]).expect_err("refused");
            assert!(error.contains("neither PNG nor JPEG"), "{error}");
        }
        for url in [
            json!(null),
            json!(7),
            json!("http://h/a.png"),
            json!("data:image/png;base64"),
            json!("data:image/png,iVBORw0KGgo="),
            json!("data:text/plain;base64,iVBORw0KGgo="),
            json!("data:image/png;base64,iVBORw0KGgo"),
            json!("data:image/png;base64,iVBORw0K Ggo="),
        ] {
            let part = json!({ "type": "image_url", "image_url": { "url": url } });
            let error = with(&[part]).expect_err("refused");
            assert!(error.contains("not a `data:image/"), "{error}");
        }
        for part in [
            json!(null),
            json!("p"),
            json!({ "type": "image" }),
            json!({ "type": "text" }),
            json!({ "text": "p" }),
        ] {
            let error = with(&[part]).expect_err("refused");
            assert!(error.contains("content part"), "{error}");
        }
    }
}
