//! Images sent with the prompts.

use prony_config::Workload;
use prony_contract::Image;
use prony_plugin_host::sha256_of;
use std::collections::HashMap;
use std::path::Path;

/// Maximum size of an image, in bytes.
const MAX_BYTES: u64 = 20_000_000;

/// Images by their path in the pipeline.
#[derive(Debug, Default)]
pub(crate) struct Images(HashMap<String, Image>);

impl Images {
    /// Reads an image, relative to `folder`, and returns its SHA-256; `None` if it has
    /// been read before.
    pub(crate) fn read(&mut self, path: &str, folder: &Path) -> Result<Option<String>, String> {
        if self.0.contains_key(path) {
            return Ok(None);
        }
        let image = image_at(&prony_files::located(folder, path))
            .map_err(|reason| format!("image `{path}`: {reason}"))?;
        let digest = sha256_of(&image.data);
        self.0.insert(path.to_owned(), image);
        Ok(Some(digest))
    }

    /// The digests of a workload's images, in order.
    pub(crate) fn digests(&self, workload: &Workload) -> Vec<String> {
        let images = workload.images.iter().filter_map(|path| self.0.get(path));
        images.map(|image| sha256_of(&image.data)).collect()
    }

    /// The images of request `index` (from 0) given the number of `prompts`: one, if the
    /// workload has any. Fails if it has not been read, so that nothing is measured
    /// without it.
    pub(crate) fn of_request(
        &self,
        workload: &Workload,
        prompts: u32,
        index: u32,
    ) -> Result<Vec<Image>, String> {
        let Some(number) = number_for(index, prompts, workload.images.len() as u32) else {
            return Ok(Vec::new());
        };
        let path = &workload.images[number as usize];
        let image = self.0.get(path).cloned();
        image
            .map(|image| vec![image])
            .ok_or_else(|| format!("image `{path}` was not read"))
    }
}

/// Number of the image for request `index`, both from 0. Requests go through prompts and
/// images in step, and each round of prompts starts with the next image, so that every
/// prompt meets every image, whatever their numbers.
pub(crate) fn number_for(index: u32, prompts: u32, images: u32) -> Option<u32> {
    let (prompt, round) = (index.checked_rem(prompts)?, index.checked_div(prompts)?);
    (prompt + round).checked_rem(images)
}

/// Reads an image.
pub(crate) fn image_at(path: &Path) -> Result<Image, String> {
    let data = prony_files::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    image_of(data)
}

/// The image of a file's bytes.
pub(crate) fn image_of(data: Vec<u8>) -> Result<Image, String> {
    let media_type = media_type(&data)
        .ok_or("it is none of the kinds that can be sent: PNG, JPEG, WebP and GIF")?
        .to_owned();
    Ok(Image { media_type, data })
}

/// The media type, by the first bytes.
fn media_type(data: &[u8]) -> Option<&'static str> {
    match data {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;

    #[test]
    fn every_prompt_meets_every_image() {
        for (prompts, images) in [(1, 1), (1, 3), (2, 2), (3, 2), (2, 3), (5, 7), (6, 4)] {
            let pairs: HashSet<(u32, Option<u32>)> = (0..prompts * images)
                .map(|index| (index % prompts, number_for(index, prompts, images)))
                .collect();
            assert_eq!(
                pairs.len() as u32,
                prompts * images,
                "{prompts} and {images}"
            );
        }
        assert_eq!(number_for(7, 2, 0), None);
    }

    #[test]
    fn the_first_bytes_tell_what_an_image_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut images = Images::default();
        let mut read = |name: &str, data: &[u8]| {
            std::fs::write(folder.path().join(name), data).expect("a file");
            images.read(name, folder.path())
        };
        let png = b"\x89PNG\r\n\x1a\nrest";
        assert_eq!(read("a.dat", png), Ok(Some(sha256_of(png))));
        assert_eq!(read("a.dat", b"changed"), Ok(None), "it is read once");
        for (name, data) in [
            ("b", &b"\xff\xd8\xff\xe0"[..]),
            ("c", b"GIF89a"),
            ("d", b"RIFF\0\0\0\0WEBPVP8 "),
        ] {
            assert!(read(name, data).is_ok(), "{name}");
        }
        let problem = read("e.png", b"BM no bitmap").expect_err("not accepted");
        assert_eq!(
            problem,
            "image `e.png`: it is none of the kinds that can be sent: PNG, JPEG, WebP and GIF"
        );
        let types = ["a.dat", "b", "c", "d"].map(|name| images.0[name].media_type.clone());
        assert_eq!(
            types,
            ["image/png", "image/jpeg", "image/gif", "image/webp"]
        );
    }

    #[test]
    fn no_request_goes_without_its_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let workload = |images: &[&str]| -> Workload {
            let workload = json!({ "prompts": ["a", "b"], "images": images });
            serde_json::from_value(workload).expect("a workload")
        };
        let mut images = Images::default();
        for name in ["1", "2"] {
            let data = format!("GIF89a{name}");
            std::fs::write(folder.path().join(name), data).expect("a file");
            images.read(name, folder.path()).expect("an image");
        }
        let sent = |index| -> Vec<u8> {
            let of_it = images
                .of_request(&workload(&["1", "2"]), 2, index)
                .expect("an image");
            let last = |image: &Image| image.data.last().copied();
            of_it.iter().filter_map(last).collect()
        };
        assert_eq!([0, 1, 2, 3, 4].map(sent), [b"1", b"2", b"2", b"1", b"1"]);
        assert_eq!(images.of_request(&workload(&[]), 2, 0), Ok(Vec::new()));
        let missing = images.of_request(&workload(&["3"]), 2, 0);
        assert_eq!(missing, Err("image `3` was not read".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name: &str| Images::default().read(name, folder.path());
        assert!(read("none.png").is_err_and(|it| it.starts_with("image `none.png`: No such file")));
        let folder_itself = "image `.`: it is a folder, and a plain file is expected";
        assert_eq!(read("."), Err(folder_itself.to_owned()));
        let large = std::fs::File::create(folder.path().join("large.png")).expect("a file");
        large.set_len(MAX_BYTES + 1).expect("a length");
        let problem = read("large.png").expect_err("too large");
        assert_eq!(problem, "image `large.png`: it is larger than 20 MB");
    }
}
