//! C: clang with wasi-libc, or Zig's clang, which is one Python package. An engine in a process is
//! made by the system's compiler.

use super::{Error, Result, Tool, Toolchains, missing, quiet, read, version};
use crate::project::{Kind, Project};
use crate::sdk;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const PACKAGE: &str = "ziglang";
const VERSION: &str = "0.17.1";
const TARGET: [&str; 2] = ["--target=wasm32-wasi", "-mexec-model=reactor"];
const BY_HAND: &str = "`prony plugin build` installs ziglang into prony's cache folder, or on Debian `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`";
const NO_CC: &str = "install a C compiler: on Debian `apt-get install gcc`";
const NO_PYTHON: &str = "install Python 3 with `venv` (on Debian `apt-get install python3-venv`), or clang for WebAssembly (on Debian `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`)";

/// A compiler for WebAssembly.
enum Compiler {
    /// The system's clang.
    Clang,
    /// Zig's: the program and what comes before its own arguments.
    Zig(PathBuf, Vec<&'static str>),
}

impl Compiler {
    fn command(&self, cache: &Path) -> Command {
        match self {
            Self::Clang => Command::new("clang"),
            Self::Zig(program, arguments) => {
                let mut command = Command::new(program);
                command.args(arguments).arg("cc");
                // Zig compiles the C library once, and keeps it.
                command.env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig-cache"));
                command.env("ZIG_LOCAL_CACHE_DIR", cache.join("zig-cache"));
                command
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Clang => "clang",
            Self::Zig(..) => "zig cc",
        }
    }
}

/// The compiler that is there, and its version.
fn found(toolchains: &Toolchains<'_>) -> Option<(Compiler, String)> {
    if let Some(version) = version("clang", &["--version"])
        && makes_modules(&toolchains.cache)
    {
        return Some((Compiler::Clang, version));
    }
    let module = vec!["-m", "ziglang"];
    let zigs = [("zig", vec![]), ("python3", module.clone())];
    for (program, arguments) in zigs {
        let ask = [arguments.as_slice(), &["version"]].concat();
        if let Some(version) = version(program, &ask) {
            return Some((
                Compiler::Zig(program.into(), arguments),
                format!("zig {version}"),
            ));
        }
    }
    let (folder, whole) = toolchains.folder(&format!("{PACKAGE}-{VERSION}"));
    whole.exists().then(|| {
        let words = format!("zig {VERSION}, in `{}`", folder.display());
        (Compiler::Zig(folder.join("bin/python"), module), words)
    })
}

/// Returns `true` if the system's clang has all that it needs for WebAssembly.
fn makes_modules(cache: &Path) -> bool {
    let (source, made) = (cache.join("probe.c"), cache.join("probe.wasm"));
    let text = "#include <stdlib.h>\nvoid *probe(void) { return malloc(1); }\n";
    let written = std::fs::create_dir_all(cache).and_then(|()| std::fs::write(&source, text));
    let mut clang = Command::new("clang");
    clang.args(TARGET).arg(&source).arg("-o").arg(&made);
    written.is_ok() && quiet(&mut clang, "").is_ok()
}

pub(super) fn survey(toolchains: &Toolchains<'_>, kind: Kind) -> Vec<Tool> {
    if kind == Kind::InProcessEngine {
        return vec![Tool::new("cc", version("cc", &["--version"]), NO_CC)];
    }
    let found = found(toolchains).map(|(_, words)| words);
    vec![Tool::new("a C compiler for wasm32-wasi", found, BY_HAND).installed_by_build()]
}

pub(super) fn install(toolchains: &Toolchains<'_>) -> Result<()> {
    compiler(toolchains).map(|_| ())
}

fn compiler(toolchains: &Toolchains<'_>) -> Result<Compiler> {
    if let Some((compiler, _)) = found(toolchains) {
        return Ok(compiler);
    }
    if version("python3", &["--version"]).is_none() {
        return Err(missing("there is no C compiler for WebAssembly", NO_PYTHON));
    }
    let folder = toolchains.environment(PACKAGE, VERSION, "100 MB")?;
    Ok(Compiler::Zig(
        folder.join("bin/python"),
        vec!["-m", "ziglang"],
    ))
}

pub(super) fn build(
    toolchains: &Toolchains<'_>,
    project: &Project,
    source: &str,
) -> Result<Vec<u8>> {
    let Some(world) = project.kind.world() else {
        return library(toolchains, project, source);
    };
    let compiler = compiler(toolchains)?;
    let sdk = project.folder.join(sdk::FOLDER);
    let module = project.output().with_extension("module.wasm");
    let mut run = compiler.command(&toolchains.cache);
    run.args(TARGET).args(["-Os", "-s", "-Wall", "-Wextra"]);
    names(&mut run, project);
    run.arg("-I").arg(&sdk);
    run.arg(project.folder.join(source));
    run.arg(sdk.join(format!("{}.c", world.replace('-', "_"))));
    run.arg("-o").arg(&module);
    toolchains.say_run(&format!("{} compiles {source}", compiler.name()));
    warned(&mut run)?;
    let bytes = with_metadata(&module, world)?;
    let _ = std::fs::remove_file(&module);
    Ok(bytes)
}

/// Name and version, which the manifest in C has to have.
fn names(run: &mut Command, project: &Project) {
    run.arg(format!("-DPLUGIN_NAME=\"{}\"", project.name));
    run.arg(format!("-DPLUGIN_VERSION=\"{}\"", project.version));
}

/// Runs a compiler, and shows its warnings.
fn warned(run: &mut Command) -> Result<()> {
    super::shown(
        run,
        "an undefined `exports_…` is a function of the contract that the plugin has to define",
    )
}

/// The module with the section that says which world it is made for.
fn with_metadata(module: &Path, world: &str) -> Result<Vec<u8>> {
    let wrong = |reason: String| Error::Module {
        path: module.to_owned(),
        reason,
    };
    let mut bytes = read(module)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_source("plugin.wit", sdk::WIT);
    let package = package.map_err(|error| wrong(format!("{error:#}")))?;
    let world = resolve.select_world(&[package], Some(world));
    let world = world.map_err(|error| wrong(format!("{error:#}")))?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| wrong(format!("{error:#}")))?;
    Ok(bytes)
}

/// A shared library of this machine.
fn library(toolchains: &Toolchains<'_>, project: &Project, source: &str) -> Result<Vec<u8>> {
    if version("cc", &["--version"]).is_none() {
        return Err(missing("`cc` is not on the `PATH`", NO_CC));
    }
    let made = project.output();
    let mut run = Command::new("cc");
    run.args([
        "-std=c11",
        "-O2",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
    ]);
    // An undefined symbol is an error of the build, and not of the first call.
    run.arg(if cfg!(target_os = "macos") {
        "-Wl,-undefined,error"
    } else {
        "-Wl,-z,defs"
    });
    names(&mut run, project);
    run.arg("-I").arg(project.folder.join(sdk::FOLDER));
    run.arg(project.folder.join(source)).arg("-o").arg(&made);
    run.args(["-lm", "-lpthread"]);
    toolchains.say_run(&format!("cc compiles {source}"));
    super::shown(&mut run, "")?;
    read(&made)
}
