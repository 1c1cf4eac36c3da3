//! The files of a folder as they were read last. A file that has not changed is not parsed again, and a folder that has not
//! changed has the same scan. Values of Secrets are not kept.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lagan_schemas::manifest::{Manifest, ManifestError, parse};
use uuid::Uuid;

use super::{DEFAULT_NAMESPACE, FolderProblem, ManifestObject, Scan, read};

/// Age of a file's time stamps from which another change would show in them: some file systems count in two seconds.
const SETTLED: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    files: HashMap<Arc<Path>, KnownFile>,
    listed: Vec<Arc<Path>>,
    scan: Arc<Scan>,
    /// The first file that holds each Secret, by namespace and name.
    secrets: HashMap<(String, String), Arc<Path>>,
}

#[derive(Debug)]
struct KnownFile {
    stamp: Stamp,
    is_settled: bool,
    content: Uuid,
    documents: Vec<Document>,
}

#[derive(Debug, Clone)]
enum Document {
    Object(ManifestObject),
    Secret { namespace: String, name: String },
    Foreign(String),
    Refused(Box<ManifestError>),
}

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }

    /// Whether a change after `now` would have other times. Times in the future, by a clock that is wrong, prove nothing.
    fn is_settled(&self, now: SystemTime) -> bool {
        let newest = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or_default();
        now.duration_since(UNIX_EPOCH + Duration::from_secs(newest)).is_ok_and(|age| age >= SETTLED)
    }
}

impl KnownFiles {
    /// Takes in what a listing of the folder found, and returns everything that its files hold.
    pub(super) fn scan(&mut self, listing: Vec<(PathBuf, Metadata)>, mut problems: Vec<FolderProblem>) -> Arc<Scan> {
        let now = SystemTime::now();
        // What could not be listed or read is asked for again, and its problem may be another one.
        let mut is_same = problems.is_empty() && self.listed.len() == listing.len();
        let mut listed: Vec<Arc<Path>> = Vec::with_capacity(listing.len());
        for (index, (path, data)) in listing.into_iter().enumerate() {
            let path: Arc<Path> = path.into();
            is_same &= self.listed.get(index) == Some(&path);
            match self.refresh(&path, &data, now) {
                Ok(refreshed) => is_same &= refreshed == Refreshed::Same,
                Err(problem) => {
                    is_same = false;
                    problems.push(*problem);
                    self.files.remove(&path);
                }
            }
            listed.push(path);
        }
        self.listed = listed;
        if !is_same {
            self.put_together(problems);
        }
        Arc::clone(&self.scan)
    }

    /// The file that holds a Secret.
    pub(super) fn secret_file(&self, namespace: &str, name: &str) -> Option<Arc<Path>> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn refresh(&mut self, path: &Arc<Path>, data: &Metadata, now: SystemTime) -> Result<Refreshed, Box<FolderProblem>> {
        let stamp = Stamp::of(data);
        let known = self.files.get_mut(path);
        if known.as_ref().is_some_and(|known| known.is_settled && known.stamp == stamp) {
            return Ok(Refreshed::Same);
        }
        let text = read(path, data)?;
        let (content, is_settled) = (Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()), stamp.is_settled(now));
        if let Some(known) = known.filter(|known| known.content == content) {
            (known.stamp, known.is_settled) = (stamp, is_settled);
            return Ok(Refreshed::Same);
        }
        let documents = parse(&path.display().to_string(), &text).into_iter();
        let documents = documents.map(|parsed| Document::of(parsed, path)).collect();
        self.files.insert(Arc::clone(path), KnownFile { stamp, is_settled, content, documents });
        Ok(Refreshed::Changed)
    }

    fn put_together(&mut self, problems: Vec<FolderProblem>) {
        let (mut scan, mut secrets) = (Scan { problems, ..Scan::default() }, HashMap::new());
        let mut files = HashMap::with_capacity(self.listed.len());
        for path in &self.listed {
            let Some(file) = self.files.remove(path) else { continue };
            for document in &file.documents {
                match document.clone() {
                    Document::Object(object) => scan.add(object),
                    Document::Secret { namespace, name } => {
                        secrets.entry((namespace, name)).or_insert_with(|| Arc::clone(path));
                    }
                    Document::Foreign(kind) => scan.foreign.push(kind),
                    Document::Refused(error) => scan.add_refused(*error, path),
                }
            }
            files.insert(Arc::clone(path), file);
        }
        // Files that are gone are dropped here.
        (self.files, self.secrets, self.scan) = (files, secrets, Arc::new(scan));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refreshed {
    Same,
    Changed,
}

impl Document {
    fn of(parsed: Result<Manifest, ManifestError>, file: &Arc<Path>) -> Self {
        match parsed {
            Ok(Manifest::Object(object)) => Self::Object(ManifestObject::new(*object, Arc::clone(file))),
            Ok(Manifest::Secret(secret)) => Self::Secret {
                namespace: secret.metadata.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
                name: secret.metadata.name,
            },
            Ok(Manifest::Foreign { api_version, kind }) => Self::Foreign(format!("{api_version} {kind}")),
            Err(error) => Self::Refused(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fs::{self, File, FileTimes};

    use super::super::Folder;
    use super::*;

    fn repository(name: &str, path: &str) -> String {
        format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {{name: {name}}}\nspec:\n  backend: {{storageSecretName: s, local: {{mountPath: {path}}}}}\n"
        )
    }

    fn age(file: &Path, by: Duration) {
        let times = FileTimes::new().set_modified(SystemTime::now() - by);
        File::options().write(true).open(file).unwrap().set_times(times).unwrap();
    }

    fn paths(folder: &Folder) -> Vec<String> {
        folder.scan().objects.values().map(|found| found.object().unwrap().spec_json().to_string()).collect()
    }

    #[test]
    fn a_folder_that_has_not_changed_has_the_same_scan() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(vec![dir.path().to_owned()]);
        fs::write(dir.path().join("a.yaml"), repository("a", "/1")).unwrap();
        fs::write(dir.path().join("b.yaml"), repository("b", "/1")).unwrap();
        let first = folder.scan();
        assert!(Arc::ptr_eq(&first, &folder.scan()));
        // Written again with what it had.
        fs::write(dir.path().join("a.yaml"), repository("a", "/1")).unwrap();
        assert!(Arc::ptr_eq(&first, &folder.scan()));
        fs::write(dir.path().join("a.yaml"), repository("a", "/2")).unwrap();
        let second = folder.scan();
        assert!(!Arc::ptr_eq(&first, &second));
        let of_b = |scan: &Scan| scan.objects.values().find(|found| found.file.ends_with("b.yaml")).unwrap().clone();
        assert!(Arc::ptr_eq(&of_b(&first).text, &of_b(&second).text), "the other file was not parsed again");
        fs::rename(dir.path().join("a.yaml"), dir.path().join("c.yaml")).unwrap();
        assert!(folder.scan().objects.values().any(|found| found.file.ends_with("c.yaml")));
        fs::remove_file(dir.path().join("c.yaml")).unwrap();
        assert_eq!(folder.scan().objects.len(), 1);
    }

    #[test]
    fn a_change_is_seen_whatever_the_times_of_the_file_say() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (Folder::new(vec![dir.path().to_owned()]), dir.path().join("a.yaml"));
        for (number, by) in [0, 10, 1000, 1000].into_iter().enumerate() {
            let (before, after) = (format!("/{number}"), format!("/{}", number + 1));
            fs::write(&file, repository("a", &before)).unwrap();
            age(&file, Duration::from_secs(by));
            assert!(paths(&folder)[0].contains(&before));
            // As long as before, and with the same time of modification: only the time of the change of status tells.
            fs::write(&file, repository("a", &after)).unwrap();
            age(&file, Duration::from_secs(by));
            assert!(paths(&folder)[0].contains(&after), "{by}");
        }
    }

    #[test]
    fn times_of_files_are_trusted_when_they_are_old_enough_and_not_in_the_future() {
        let (now, at) = (UNIX_EPOCH + Duration::from_secs(1000), |seconds: i64| (seconds, 0));
        let settled = |modified: i64, changed: i64| {
            let stamp = Stamp { device: 1, inode: 1, size: 1, modified: at(modified), changed: at(changed) };
            stamp.is_settled(now)
        };
        assert!(settled(996, 900) && settled(-5, 0));
        assert!(!settled(997, 900) && !settled(0, 997) && !settled(0, 5000));
    }
}
