//! Content of a message: a text, or parts with texts and images, as in `OpenAI`'s API
//! (platform.openai.com/docs/api-reference/chat, `content` of messages).

use super::conversation::Image;
use super::fields::{Fields, Wrong};
use super::format::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Why a line with some fields is refused.
pub(super) const CANNOT_SEND: &str = "requests cannot carry it, and what is measured would be other work without it: take it out of the file if it is not to be sent";

/// The content of a message.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) images: Vec<Image>,
}

/// Reads a text or a list of parts. Texts of several parts are joined by a line break.
pub(super) fn read(
    message: &Fields<'_>,
    key: &str,
    context: &mut Context<'_>,
) -> Result<Content, Wrong> {
    match message.value(key) {
        Some(Value::String(text)) => Ok(Content {
            text: text.clone(),
            images: Vec::new(),
        }),
        Some(Value::Array(_)) => of_parts(message, key, context),
        Some(other) => Err(message.wrong(
            key,
            format!(
                "`{}` is {}, expected a text or a list of parts",
                message.named(key),
                super::fields::kind(other)
            ),
        )),
        None => Err(message.wrong_here(format!("there is no `{}`", message.named(key)))),
    }
}

fn of_parts(message: &Fields<'_>, key: &str, context: &mut Context<'_>) -> Result<Content, Wrong> {
    let mut texts: Vec<&str> = Vec::new();
    let mut images = Vec::new();
    let mut is_image_behind = false;
    for part in message.objects(key)?.unwrap_or_default() {
        match part.some_text("type")? {
            "text" | "input_text" => texts.push(part.text("text")?.unwrap_or_default()),
            "image_url" | "input_image" => {
                is_image_behind |= !texts.is_empty();
                let url = match part.value("image_url") {
                    Some(Value::Object(_)) => {
                        let inner = part.object("image_url")?;
                        let inner =
                            inner.ok_or_else(|| part.wrong_here("there is no `image_url`"))?;
                        inner.know(&["detail"]);
                        inner.some_text("url")?
                    }
                    _ => part.some_text("image_url")?,
                };
                images.push(image(url).map_err(|why| part.wrong("image_url", why))?);
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(part.wrong(
                    "type",
                    format!(
                        "a part of the type `{other}` cannot be sent: expected text or image_url"
                    ),
                ));
            }
        }
    }
    if texts.len() > 1 {
        context.notes.add(
            "texts of several parts are sent as one, with a line break between",
            "message",
            1,
        );
    }
    if is_image_behind {
        context.notes.add(
            "images are sent before the text of their message",
            "message",
            1,
        );
    }
    Ok(Content {
        text: texts.join("\n"),
        images,
    })
}

/// An image by its address: the bytes of a `data:` URL, or a file.
pub(super) fn image(url: &str) -> Result<Image, String> {
    let scheme = url
        .split_once(':')
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("data") => {
            let (kind, data) = url
                .split_once(',')
                .ok_or("the `data:` URL has no comma, behind which the image stands")?;
            if !kind.ends_with(";base64") {
                return Err("the `data:` URL is not in base64".to_owned());
            }
            let bytes = STANDARD.decode(data.trim());
            let bytes = bytes.map_err(|error| format!("the `data:` URL is no base64: {error}"))?;
            Ok(Image::Bytes(bytes.into()))
        }
        Some("http" | "https") => Err(
            "an image on the network is not fetched, so that each run sends the same: save it beside the file and name it there"
                .to_owned(),
        ),
        Some("file") => {
            let path = url["file:".len()..].trim_start_matches("//");
            Ok(Image::File(path.to_owned()))
        }
        _ if url.trim().is_empty() => Err("the image has no address".to_owned()),
        _ => Ok(Image::File(url.to_owned())),
    }
}
