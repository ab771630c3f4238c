//! Writes a header and a source in C for each world of the contract: `c-bindings WIT FOLDER`.
//!
//! Without the object file that would hold the world: `prony plugin build` adds it to the module.

use anyhow::{Context as _, Result};
use std::path::Path;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

/// The worlds for which plugins in C are built.
const WORLDS: [&str; 3] = ["engine-plugin", "stdio-engine-plugin", "reporter-plugin"];
/// Begin of what asks for the object file all the same, at the end of a source.
const OBJECT: &str = "// Ensure that the *_component_type.o object is linked in";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: c-bindings WIT FOLDER");
    let (wit, folder) = (next()?, next()?);
    for world in WORLDS {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(&wit)?;
        let world = resolve.select_world(&[package], Some(world))?;
        let options = wit_bindgen_c::Opts {
            no_object_file: true,
            ..wit_bindgen_c::Opts::default()
        };
        let mut files = Files::default();
        let mut generator = options.build();
        generator.generate(&mut resolve, world, &mut files)?;
        for (name, text) in files.iter() {
            let text = std::str::from_utf8(text)?;
            let text = text.split(OBJECT).next().unwrap_or_default().trim_end();
            std::fs::write(Path::new(&folder).join(name), format!("{text}\n"))?;
        }
    }
    Ok(())
}
