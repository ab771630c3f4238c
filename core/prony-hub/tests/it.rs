//! Fetching from a local server that speaks the hub's interface.

#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use prony_hub::{Error, Fetched, Hub, Lock, Locked, Wanted, Watch};
use server::{COMMIT, Server, Trouble};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const ID: &str = "acme/tiny";

/// Keeps what it is told; interrupts after some bytes.
#[derive(Default)]
struct Seen {
    began: Vec<(String, u64, u64)>,
    notes: Vec<String>,
    have: u64,
    digested: usize,
    interrupt_at: Option<u64>,
}

impl Watch for Seen {
    fn begins(&mut self, file: &str, bytes: u64, have: u64) {
        self.began.push((file.to_owned(), bytes, have));
    }
    fn has(&mut self, have: u64) {
        self.have = have;
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
    fn is_interrupted(&self) -> bool {
        self.interrupt_at.is_some_and(|at| self.have >= at)
    }
    fn sha256(&mut self, path: &Path) -> std::io::Result<String> {
        self.digested += 1;
        Ok(sha256(&fs::read(path)?))
    }
}

fn sha256(bytes: &[u8]) -> String {
    server::text(&Sha256::digest(bytes))
}

struct Case {
    server: Server,
    folder: TempDir,
}

impl Case {
    fn new(trouble: Trouble) -> Self {
        Self {
            server: Server::start(trouble),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn hub_with(&self, more: &[(&str, &str)]) -> Hub {
        let mut variables: Vec<(String, OsString)> = vec![
            ("HF_ENDPOINT".to_owned(), self.server.address.clone().into()),
            ("HF_HOME".to_owned(), self.folder.path().into()),
        ];
        variables.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into())),
        );
        Hub::new(&move |name| {
            variables
                .iter()
                .rev()
                .find(|it| it.0 == name)
                .map(|it| it.1.clone())
        })
    }

    fn fetch(
        &self,
        files: &[&str],
        locked: Option<&Locked>,
        seen: &mut Seen,
    ) -> Result<Fetched, Error> {
        fetch(&self.hub_with(&[]), files, locked, seen)
    }
}

fn fetch(
    hub: &Hub,
    files: &[&str],
    locked: Option<&Locked>,
    seen: &mut Seen,
) -> Result<Fetched, Error> {
    let files: Vec<String> = files.iter().map(|it| (*it).to_owned()).collect();
    let wanted = Wanted {
        id: ID,
        revision: None,
        files: &files,
    };
    hub.fetch(&wanted, locked, seen)
}

#[test]
fn files_are_fetched_once_and_lie_as_the_hubs_own_package_lays_them() {
    let case = Case::new(Trouble::None);
    let mut seen = Seen::default();
    let fetched = case
        .fetch(&["*.safetensors", "config.json", "sub/*"], None, &mut seen)
        .unwrap();
    assert_eq!(fetched.locked.commit, COMMIT);
    let model = case.folder.path().join("hub/models--acme--tiny");
    assert_eq!(fetched.folder, model.join("snapshots").join(COMMIT));
    assert_eq!(fetched.path(), fetched.folder, "several files are a folder");
    for (name, content) in server::files() {
        let path = fetched.folder.join(name);
        if name == "README.md" || name.contains("-q") {
            assert!(!path.exists(), "{name} was not wanted");
            continue;
        }
        assert_eq!(fs::read(&path).unwrap(), content, "{name}");
        let blob = fs::read_link(&path).unwrap();
        assert!(blob.is_relative(), "{name}: the folder may move");
        assert!(
            blob.to_str()
                .unwrap()
                .ends_with(&server::blob(name, &content)),
            "{name}"
        );
        let locked = fetched
            .locked
            .found
            .iter()
            .find(|it| it.name == name)
            .unwrap();
        assert_eq!(
            (locked.bytes, &locked.sha256),
            (content.len() as u64, &sha256(&content))
        );
    }
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);

    // Again: only the list is asked for.
    let before = case.server.requests();
    case.fetch(&["*.safetensors"], None, &mut Seen::default())
        .unwrap();
    assert_eq!(case.server.requests() - before, 1);
    // With the lock: nothing.
    let mut seen = Seen::default();
    let again = case
        .fetch(
            &["*.safetensors", "config.json", "sub/*"],
            Some(&fetched.locked),
            &mut seen,
        )
        .unwrap();
    assert_eq!(again, fetched);
    assert_eq!(case.server.requests() - before, 1);
    assert_eq!(seen.digested, 3, "every digest is checked");

    let cached = case.hub_with(&[]).cached();
    assert_eq!(cached.len(), 1);
    assert_eq!(
        (cached[0].id.as_str(), cached[0].commit.as_str()),
        (ID, COMMIT)
    );
    assert_eq!(cached[0].revisions, ["main"]);
    assert_eq!(cached[0].files.len(), 3);
}

#[test]
fn one_file_is_a_path_and_so_is_one_that_was_split() {
    let case = Case::new(Trouble::None);
    let one = case
        .fetch(&["tiny-q4.gguf"], None, &mut Seen::default())
        .unwrap();
    assert_eq!(one.path(), one.folder.join("tiny-q4.gguf"));
    let split = case
        .fetch(&["tiny-q8-*"], None, &mut Seen::default())
        .unwrap();
    assert_eq!(split.locked.found.len(), 2);
    assert_eq!(
        split.path(),
        split.folder.join("tiny-q8-00001-of-00002.gguf")
    );
    let both = case.fetch(&["*.gguf"], None, &mut Seen::default()).unwrap();
    assert_eq!(both.path(), both.folder);
}

#[test]
fn a_broken_off_download_goes_on_where_it_was() {
    for trouble in [Trouble::BreaksOff, Trouble::IgnoresRanges] {
        let case = Case::new(trouble);
        let mut seen = Seen {
            interrupt_at: Some(300_000),
            ..Seen::default()
        };
        let error = case
            .fetch(&["model.safetensors"], None, &mut seen)
            .unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        let mut seen = Seen::default();
        let fetched = case.fetch(&["model.safetensors"], None, &mut seen).unwrap();
        assert_eq!(
            fs::read(fetched.path()).unwrap(),
            server::content("model.safetensors")
        );
        let (_, _, have) = seen.began[0];
        assert!(have >= 300_000, "{trouble:?}: it began again at {have}");
        let blobs = fetched.folder.join("../../blobs");
        let left = fs::read_dir(blobs).unwrap().count();
        assert_eq!(left, 1, "nothing unfinished is left");
    }
}

#[test]
fn what_is_not_what_the_hub_states_is_no_model() {
    // A part that another content left, and one that is longer than all.
    for part in [vec![7; 1000], vec![7; 4_000_000]] {
        let case = Case::new(Trouble::None);
        let content = server::content("model.safetensors");
        let blobs = case.folder.path().join("hub/models--acme--tiny/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let name = format!("{}.incomplete", server::blob("model.safetensors", &content));
        fs::write(blobs.join(name), part).unwrap();
        let fetched = case
            .fetch(&["model.safetensors"], None, &mut Seen::default())
            .unwrap();
        assert_eq!(fs::read(fetched.path()).unwrap(), content);
    }
    // A mirror that gives something else, of a large file and of a small one.
    for file in ["model.safetensors", "config.json"] {
        let case = Case::new(Trouble::OtherContent);
        let error = case.fetch(&[file], None, &mut Seen::default()).unwrap_err();
        assert!(matches!(&error, Error::Digest { .. }), "{error}");
        assert!(error.to_string().contains("faithful mirror"), "{error}");
    }
    // A file that was damaged in the cache folder is fetched again without a lock, and told
    // with one.
    let case = Case::new(Trouble::None);
    let fetched = case
        .fetch(&["model.safetensors"], None, &mut Seen::default())
        .unwrap();
    let mut content = fs::read(fetched.path()).unwrap();
    content[1000] ^= 1;
    let blob = fetched.path().canonicalize().unwrap();
    fs::write(&blob, &content).unwrap();
    let error = case
        .fetch(
            &["model.safetensors"],
            Some(&fetched.locked),
            &mut Seen::default(),
        )
        .unwrap_err();
    assert!(error.to_string().contains("`models.lock` says"), "{error}");
    let mut seen = Seen::default();
    case.fetch(&["model.safetensors"], None, &mut seen).unwrap();
    assert!(seen.notes[0].contains("damaged"), "{:?}", seen.notes);
    assert_eq!(
        fs::read(blob).unwrap(),
        server::content("model.safetensors")
    );
}

#[test]
fn a_refusal_names_the_way_out() {
    let case = Case::new(Trouble::Gated);
    let error = case
        .fetch(&["config.json"], None, &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("licence must be accepted at") && error.contains("HF_TOKEN"),
        "{error}"
    );
    // With the token of the environment it is given; it goes to no other host.
    let hub = case.hub_with(&[("HF_TOKEN", "hf_secret")]);
    let fetched = fetch(&hub, &["model.safetensors"], None, &mut Seen::default()).unwrap();
    assert!(fetched.path().is_file());
    assert_eq!(case.server.other_hosts_token(), None);

    let case = Case::new(Trouble::None);
    let error = case
        .fetch(&["*.bin"], None, &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no file `*.bin`") && error.contains("`config.json`"),
        "{error}"
    );
    let files = ["x".to_owned()];
    let wanted = |id, revision| Wanted {
        id,
        revision,
        files: &files,
    };
    let hub = case.hub_with(&[]);
    let error = hub
        .fetch(&wanted("acme/none", None), None, &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not exist, or only with a token"),
        "{error}"
    );
    let error = hub
        .fetch(&wanted(ID, Some("v9")), None, &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no such revision"), "{error}");
    for id in ["../etc", "a/b/c", ""] {
        let error = hub
            .fetch(&wanted(id, None), None, &mut Seen::default())
            .unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
}

#[test]
fn hostile_lists_write_nothing_elsewhere() {
    for trouble in [
        Trouble::EscapingName,
        Trouble::EscapingBlob,
        Trouble::NoCommit,
        Trouble::NoJson,
    ] {
        let case = Case::new(trouble);
        let error = case.fetch(&["*"], None, &mut Seen::default()).unwrap_err();
        assert!(
            matches!(error, Error::Answer { .. } | Error::Name { .. }),
            "{trouble:?}: {error}"
        );
        assert!(
            !case.folder.path().join("hub/models--acme--tiny").exists(),
            "{trouble:?}"
        );
    }
}

#[test]
fn without_the_hub_what_is_here_is_taken_or_the_place_named() {
    let case = Case::new(Trouble::None);
    let files = ["config.json"];
    let offline = case.hub_with(&[("HF_HUB_OFFLINE", "1")]);
    let error = fetch(&offline, &files, None, &mut Seen::default())
        .unwrap_err()
        .to_string();
    for words in [
        "HF_HUB_OFFLINE",
        "HF_ENDPOINT",
        "models--acme--tiny",
        "prony model pull acme/tiny 'config.json'",
        "`path`",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let fetched = case.fetch(&files, None, &mut Seen::default()).unwrap();
    let mut seen = Seen::default();
    let again = fetch(&offline, &files, None, &mut seen).unwrap();
    assert_eq!(again, fetched);
    assert!(seen.notes[0].contains("of commit 0123"), "{:?}", seen.notes);
    // Nobody listens there.
    let away = case.hub_with(&[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert_eq!(
        fetch(&away, &files, None, &mut Seen::default()).unwrap(),
        fetched
    );
    assert!(fetch(&away, &["README.md"], None, &mut Seen::default()).is_err());
}

#[test]
fn a_lock_keeps_the_commit_when_the_branch_moves() {
    let case = Case::new(Trouble::None);
    let fetched = case
        .fetch(&["config.json"], None, &mut Seen::default())
        .unwrap();
    let mut lock = Lock::default();
    assert!(lock.put(fetched.locked.clone()));
    let path = case.folder.path().join("models.lock");
    lock.write(&path).unwrap();
    case.server.move_branch();
    fs::remove_dir_all(case.folder.path().join("hub")).unwrap();
    let lock = Lock::read(&path).unwrap();
    let files = ["config.json".to_owned()];
    let wanted = Wanted {
        id: ID,
        revision: None,
        files: &files,
    };
    let hub = case.hub_with(&[]);
    let again = hub
        .fetch(&wanted, lock.find(&wanted), &mut Seen::default())
        .unwrap();
    assert_eq!(again.locked, fetched.locked);
    let anew = hub.fetch(&wanted, None, &mut Seen::default()).unwrap();
    assert_ne!(anew.locked.commit, fetched.locked.commit);
}

#[test]
fn a_commit_that_is_asked_for_is_that_commit() {
    let case = Case::new(Trouble::OneCommit);
    let files = ["config.json".to_owned()];
    let other = "f".repeat(40);
    let wanted = Wanted {
        id: ID,
        revision: Some(&other),
        files: &files,
    };
    let hub = case.hub_with(&[]);
    let error = hub.fetch(&wanted, None, &mut Seen::default()).unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    let fetched = case.fetch(&["config.json"], None, &mut Seen::default());
    let mut locked = fetched.unwrap().locked;
    locked.commit.clone_from(&other);
    let error = case.fetch(&["config.json"], Some(&locked), &mut Seen::default());
    assert!(matches!(error, Err(Error::Answer { .. })), "{error:?}");
}

#[test]
fn a_link_in_the_cache_folder_leads_to_no_other_file() {
    let case = Case::new(Trouble::None);
    let blobs = case.folder.path().join("hub/models--acme--tiny/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let victim = case.folder.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    let name = server::blob("model.safetensors", &server::content("model.safetensors"));
    let part = blobs.join(format!("{name}.incomplete"));
    std::os::unix::fs::symlink(&victim, part).unwrap();
    let error = case.fetch(&["model.safetensors"], None, &mut Seen::default());
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    assert_eq!(fs::read_to_string(victim).unwrap(), "kept");
    // Folders that lead back are not followed.
    let snapshot = case
        .folder
        .path()
        .join(format!("hub/models--acme--tiny/snapshots/{COMMIT}"));
    fs::create_dir_all(&snapshot).unwrap();
    for name in ["a", "b", "c", "d"] {
        std::os::unix::fs::symlink(".", snapshot.join(name)).unwrap();
    }
    assert!(case.hub_with(&[]).cached().is_empty());
}
