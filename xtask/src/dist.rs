//! The archive that users download: prony, its plugins and their files, built to run
//! anywhere and to contain no path of the build machine.

mod licences;
mod sbom;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use self::sbom::Dependencies;
pub(crate) use self::twice::twice;
use crate::plugins::Form;
use crate::shell::{self, Phases};
use crate::workspace::{Workspace, create_folder};
use crate::{build, wasm};

/// The cargo profile of releases.
const PROFILE: &str = "dist";

/// The newest glibc that a release for Linux may require, as documented.
const GLIBC: (u32, u32) = (2, 35);

/// The line of `install.sh` filled in by a release.
const URL_LINE: &str = "url=";

/// Builds the archive for this machine's target, checks it, and puts it with its
/// SBOM, `install.sh` and `SHA256SUMS` into `target/archives`.
pub(crate) fn dist(workspace: &Workspace) -> Result<()> {
    let version = version(workspace)?;
    check_tag(version)?;
    let target = host_target()?;
    let plugins = build::shipped(workspace)?;
    let mut phases = Phases::new(vec![
        "checking the WebAssembly target",
        "building prony and its native plugins (minutes)",
        "building the plugins as WebAssembly",
        "packing the archive",
        "trying the archive in another folder",
    ]);

    phases.next();
    wasm::ensure_target(workspace)?;
    let dependencies = Dependencies::read(workspace, &plugins, &[&target, wasm::TARGET])?;
    let remap = Remap::new(workspace, &dependencies)?;
    phases.next();
    let mut cargo = build::host_build(workspace, &plugins, PROFILE);
    shell::run_cargo(remap.apply(cargo.args(["--target", &target]), &target)?)?;
    phases.next();
    let mut cargo = build::wasm_build(workspace, &plugins, PROFILE);
    shell::run_cargo(remap.apply(&mut cargo, wasm::TARGET)?)?;

    phases.next();
    let built = |target: &str| workspace.target.join(target).join(PROFILE);
    let name = format!("prony-{version}-{target}");
    let out = workspace.target.join("archives");
    let stage = out.join("stage").join(&name);
    clear(&out)?;
    let prony = built(&target).join("prony");
    stage_files(workspace, &stage, &prony, &dependencies)?;
    let lock = stage.join("lib/prony/plugins/prony.lock");
    for plugin in &plugins {
        let folder = match plugin.form {
            Form::Wasm => built(wasm::TARGET),
            Form::Native => built(&target),
        };
        let file = folder.join(plugin.form.file(&plugin.package));
        let mut add = build::add_command(&prony, &lock, &file, plugin.form);
        shell::run(add.env("PRONY_CACHE", out.join("stage/cache")))?;
    }
    let glibc = check_binaries(&stage, &remap)?;
    write(&stage.join("README.txt"), &read_me(glibc))?;
    let archive = format!("{name}.tar.gz");
    let sbom = format!("{name}.cdx.json");
    pack(&stage, &out.join(&archive), commit_time(workspace))?;
    write(
        &out.join(&sbom),
        &serde_json::to_string_pretty(&dependencies.sbom(version))?,
    )?;
    write(&out.join("install.sh"), &install_script(workspace)?)?;
    let sums = sums(&out, &[&archive, &sbom])?;
    write(&out.join("SHA256SUMS"), &sums)?;

    phases.next();
    try_archive(&out, &archive, &name)?;
    fs::remove_dir_all(out.join("stage"))?;
    shell::step(&format!("{} is in {}", archive, out.display()));
    Ok(())
}

/// The version of prony, shared by all crates.
fn version(workspace: &Workspace) -> Result<&str> {
    workspace
        .packages
        .iter()
        .find(|package| package["name"] == "prony-cli")
        .and_then(|package| package["version"].as_str())
        .context("the workspace has no prony-cli")
}

/// Returns `true` if a tag is built, rather than a trial.
fn is_release() -> bool {
    std::env::var("GITHUB_REF_TYPE").is_ok_and(|kind| kind == "tag")
}

/// Refuses a tag that does not match the version.
fn check_tag(version: &str) -> Result<()> {
    let tag = std::env::var("GITHUB_REF_NAME").unwrap_or_default();
    ensure!(
        !is_release() || tag == format!("v{version}"),
        "the tag `{tag}` does not name version {version}"
    );
    Ok(())
}

/// The default target of rustc.
fn host_target() -> Result<String> {
    let text = String::from_utf8(shell::output(Command::new("rustc").arg("-vV"))?)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Folders of this machine that must not appear in a release, each with its replacement.
struct Remap(Vec<(PathBuf, &'static str)>);

impl Remap {
    fn new(workspace: &Workspace, dependencies: &Dependencies) -> Result<Self> {
        let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
        // The last match counts, so the general ones come first.
        let mut folders = vec![
            (workspace.root.clone(), "prony"),
            (workspace.target.clone(), "target"),
            // With its source installed, rustc names std's files by their path.
            (sysroot.join("lib/rustlib/src/rust"), "rust"),
        ];
        folders.extend(
            dependencies
                .source_folders()
                .into_iter()
                .map(|folder| (folder, "crates")),
        );
        Ok(Self(folders))
    }

    /// Makes cargo remap the folders in its builds for `target`, in Rust and in C.
    fn apply<'a>(&self, cargo: &'a mut Command, target: &str) -> Result<&'a mut Command> {
        let map = |flag: &str| -> Vec<String> {
            let flag = |(from, to): &(PathBuf, &str)| format!("{flag}={}={to}", from.display());
            self.0.iter().map(flag).collect()
        };
        // A list of JSON strings is valid TOML.
        let flags = serde_json::to_string(&map("--remap-path-prefix"))?;
        let mut c_flags: Vec<String> = std::env::var("CFLAGS").into_iter().collect();
        c_flags.extend(map("-ffile-prefix-map"));
        Ok(cargo
            .args(["--config", &format!("target.{target}.rustflags={flags}")])
            // These would override the configuration.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CFLAGS", c_flags.join(" ")))
    }
}

/// Puts everything but the plugins in place.
fn stage_files(
    workspace: &Workspace,
    stage: &Path,
    prony: &Path,
    dependencies: &Dependencies,
) -> Result<()> {
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = stage.join(to);
        create_folder(to.parent().unwrap_or(stage))?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    };
    copy(prony, "bin/prony")?;
    for file in workspace.files()? {
        if ships(workspace, &file) {
            copy(&workspace.root.join(&file), &file)?;
        }
    }
    write(
        &stage.join("THIRD-PARTY-LICENSES.txt"),
        &licences::text(dependencies)?,
    )?;
    for (shell, file) in [
        ("bash", "prony.bash"),
        ("zsh", "_prony"),
        ("fish", "prony.fish"),
    ] {
        let script = shell::output(Command::new(prony).args(["completions", shell]))?;
        write(
            &stage.join("completions").join(file),
            &String::from_utf8(script)?,
        )?;
    }
    Ok(())
}

/// Returns `true` if a file of the repository belongs in the archive: pipelines,
/// examples, schemas and licences, but no crate, which would not build there.
fn ships(workspace: &Workspace, file: &str) -> bool {
    let path = workspace.root.join(file);
    let in_crate = workspace.packages.iter().any(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        manifest
            .parent()
            .is_some_and(|folder| path.starts_with(folder))
    });
    let schema = file.strip_prefix("schemas/").is_some_and(|name| {
        !name.contains('/') && Path::new(name).extension().is_some_and(|e| e == "json")
    });
    let named = ["pipelines/", "examples/", "LICENSE-"]
        .iter()
        .any(|start| file.starts_with(start));
    !in_crate && (schema || named)
}

fn read_me(glibc: Option<(u32, u32)>) -> String {
    let needs = glibc.map_or(String::new(), |(major, minor)| {
        format!("\nIt needs glibc {major}.{minor} or newer and libgcc_s.\n")
    });
    format!(
        "prony says which LLM inference engine is faster, and how sure that is.\n\
         \n\
         bin/prony runs from here, wherever this folder lies; it finds its plugins in\n\
         lib/prony/plugins. To try it:\n\
         \n    bin/prony run pipelines/quickstart.yaml\n\
         \n\
         install.sh, which is downloaded beside the archive, installs it below ~/.local or\n\
         another prefix, and removes it again.\n{needs}"
    )
}

/// Refuses binaries that contain a path of this machine, and, in a release, those that
/// require a newer glibc than documented. Returns the required glibc, as major and minor
/// version.
fn check_binaries(stage: &Path, remap: &Remap) -> Result<Option<(u32, u32)>> {
    let mut files = Vec::new();
    list(&stage.join("bin"), &mut files)?;
    list(&stage.join("lib"), &mut files)?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut needed = None;
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for path in remap.0.iter().map(|(from, _)| from).chain(&home) {
            // A home folder of `/` belongs to nobody.
            let path = path.to_string_lossy();
            let inside = format!("{}/", path.trim_end_matches('/'));
            if path.len() > 1 && contains(&bytes, inside.as_bytes()) {
                bail!("{} names the folder {path}", file.display());
            }
        }
        needed = needed.max(glibc(&bytes));
    }
    if is_release()
        && let Some((major, minor)) = needed.filter(|needed| *needed > GLIBC)
    {
        bail!(
            "the archive needs glibc {major}.{minor}; the documents promise {}.{}",
            GLIBC.0,
            GLIBC.1
        );
    }
    Ok(needed)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The newest version of glibc required by a binary, as major and minor.
fn glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    const PREFIX: &[u8] = b"GLIBC_";
    let mut newest = None;
    for (at, _) in bytes
        .windows(PREFIX.len())
        .enumerate()
        .filter(|(_, window)| *window == PREFIX)
    {
        let rest = &bytes[at + PREFIX.len()..];
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.')
            .unwrap_or(rest.len());
        let mut numbers = std::str::from_utf8(&rest[..end])
            .unwrap_or_default()
            .split('.')
            .map(|number| number.parse().ok());
        if let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) {
            newest = newest.max(Some((major, minor)));
        }
    }
    newest
}

/// Makes a reproducible `.tar.gz` of a folder: sorted, with a fixed time and a neutral
/// owner.
fn pack(folder: &Path, archive: &Path, time: SystemTime) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let (parent, name) = (
        folder.parent().context("the folder has a parent")?,
        folder.file_name().context("the folder has a name")?,
    );
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort_unstable();
    for file in &files {
        let mode = if file.starts_with(folder.join("bin")) || has_extension(file, "sh") {
            0o755
        } else {
            0o644
        };
        fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
        fs::File::options()
            .append(true)
            .open(file)?
            .set_modified(time)?;
    }
    let tar = archive.with_extension("");
    let mut command = Command::new("tar");
    command.arg("-cf").arg(&tar);
    // The two kinds of tar have different option names.
    let version = shell::output(Command::new("tar").arg("--version"))?;
    if contains(&version, b"GNU tar") {
        command.args(["--owner=0", "--group=0", "--numeric-owner"]);
    } else {
        command.args(["--uid=0", "--gid=0", "--numeric-owner"]);
    }
    command.arg("-C").arg(parent).args(files.iter().map(|file| {
        let relative = file.strip_prefix(folder).unwrap_or(file);
        Path::new(name).join(relative)
    }));
    // Without it macOS adds its own files.
    shell::run(command.env("COPYFILE_DISABLE", "1"))?;
    shell::run(Command::new("gzip").args(["-n", "-9", "-f"]).arg(&tar))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            list(&path, files)?;
        } else if !hidden {
            files.push(path);
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Time of the commit being built, so that a rebuild gives the same bytes.
fn commit_time(workspace: &Workspace) -> SystemTime {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    let seconds = shell::output(&mut git)
        .ok()
        .and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0))
}

/// The installer, which in a release contains its URL.
fn install_script(workspace: &Workspace) -> Result<String> {
    let path = workspace.root.join("xtask/scripts/install.sh");
    let script =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let variable = |name| std::env::var(name).ok();
    let (Some(server), Some(repository), Some(tag)) = (
        variable("GITHUB_SERVER_URL"),
        variable("GITHUB_REPOSITORY"),
        variable("GITHUB_REF_NAME"),
    ) else {
        return Ok(script);
    };
    let url = format!("{server}/{repository}/releases/download/{tag}");
    Ok(with_url(&script, &url))
}

fn with_url(script: &str, url: &str) -> String {
    script.replacen(
        &format!("\n{URL_LINE}\n"),
        &format!("\n{URL_LINE}'{url}'\n"),
        1,
    )
}

/// Checksums in the format of `sha256sum` and `shasum`.
fn sums(folder: &Path, files: &[&str]) -> Result<String> {
    let mut command = if shell::on_path("sha256sum").is_some() {
        Command::new("sha256sum")
    } else {
        let mut command = Command::new("shasum");
        command.args(["-a", "256"]);
        command
    };
    Ok(String::from_utf8(shell::output(
        command.args(files).current_dir(folder),
    )?)?)
}

/// Unpacks the archive elsewhere and runs the quickstart's first cycle.
fn try_archive(out: &Path, archive: &str, name: &str) -> Result<()> {
    let folder = out.join("stage/another place");
    create_folder(&folder.join("home"))?;
    shell::run(
        Command::new("tar")
            .arg("-xzf")
            .arg(out.join(archive))
            .arg("-C")
            .arg(&folder),
    )?;
    let mut pipelines = Vec::new();
    list(&folder.join(name).join("pipelines"), &mut pipelines)?;
    for file in pipelines {
        // There is no checkout where an archive is unpacked.
        if String::from_utf8_lossy(&fs::read(&file)?).contains("xtask/") {
            bail!("`{}` needs a file of the checkout", file.display());
        }
    }
    let mut prony = Command::new(folder.join(name).join("bin/prony"));
    prony
        .args(["run", "pipelines/quickstart.yaml"])
        .args(["--set", "schedule.cycles=1"])
        .current_dir(folder.join(name))
        .env("HOME", folder.join("home"))
        .env("PRONY_CACHE", folder.join("cache"))
        .stdout(Stdio::null());
    shell::run(&mut prony).context("the archive does not run in another folder")
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    create_folder(folder)
}

fn write(path: &Path, text: &str) -> Result<()> {
    create_folder(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
