//! A folder of manifests: scans of the whole folder, and look-ups of single objects. The first document that names an
//! object defines it, even if it is refused: a later one must not silently take its part.
//! It must not publish anything. A folder that can't be read completely must not look like one with fewer objects.

mod known;

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lagan_schemas::manifest::{Manifest, ManifestError, RefusedObject, parse, parse_naming};
use lagan_schemas::resource::secret::Secret;
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use self::known::KnownFiles;

/// Depth limit of nested folders, which also ends circular links.
const DEPTH_LIMIT: usize = 8;
/// Size limit of a file, in bytes.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
const DEFAULT_NAMESPACE: &str = "default";
/// Name space of the UUIDs that stand for an object's content.
const CONTENT: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0002);

/// Folders that together are the source of intent.
#[derive(Debug)]
pub struct Folder {
    dirs: Vec<PathBuf>,
    known: Mutex<KnownFiles>,
}

/// The result of one scan.
#[derive(Debug, Default)]
pub struct Scan {
    pub objects: BTreeMap<ObjectKey, ManifestObject>,
    /// Objects whose documents are refused. None of them is in `objects`.
    pub refused: BTreeMap<ObjectKey, RefusedManifest>,
    pub problems: Vec<FolderProblem>,
    /// Kinds that Lagan does not read, as `apiVersion kind`.
    pub foreign: Vec<String>,
}

/// An object and its file. The object itself is kept as text, because folders may hold a hundred thousand.
#[derive(Debug, Clone)]
pub struct ManifestObject {
    key: ObjectKey,
    pub api_version: String,
    text: Arc<str>,
    /// Identifies everything that the manifest holds. A change of an unpublished part, such as the body of a hook, is a change.
    /// Of a session only the spec counts: with another label it is the same session, which must not run again.
    pub content: Uuid,
    pub file: Arc<Path>,
}

/// A refused document that names its object.
#[derive(Debug, Clone)]
pub struct RefusedManifest {
    pub api_version: String,
    /// The reason, which quotes no values of the document.
    pub problem: String,
    pub file: Arc<Path>,
    /// The file, and the position in it.
    pub place: String,
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum FolderProblem {
    #[error("`{path}` can't be read: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{key} is defined in `{file}` and in `{first}`; `{first}` is used")]
    Twice { key: ObjectKey, first: PathBuf, file: PathBuf },
}

impl FolderProblem {
    /// Returns the file, and the position if it is known. Unlike the full text, it quotes nothing of the content.
    #[must_use]
    pub fn file(&self) -> String {
        match self {
            Self::Unreadable { path, .. } | Self::Twice { file: path, .. } => path.display().to_string(),
            Self::Manifest(error) => format!("{}:{}:{}", error.file, error.line, error.column),
        }
    }

    /// Whether objects of this file may be missing from the scan because of the problem.
    #[must_use]
    pub fn hides(&self, file: &Path) -> bool {
        match self {
            Self::Unreadable { path, .. } => file.starts_with(path),
            Self::Manifest(error) => Path::new(&error.file) == file,
            // The object itself is in the scan, from the first of the two files.
            Self::Twice { .. } => false,
        }
    }
}

impl ManifestObject {
    #[must_use]
    pub fn new(object: Object, file: Arc<Path>) -> Self {
        let object = with_namespace(object);
        let (spec, metadata) = (object.spec_json(), &object.metadata);
        let identifying = match object.kind() {
            Kind::BackupSession | Kind::RestoreSession => serde_json::json!([spec]),
            _ => serde_json::json!([spec, metadata.labels, metadata.annotations]),
        };
        let content = Uuid::new_v5(&CONTENT, identifying.to_string().as_bytes());
        let (key, text) = (object.key(), object.to_json().to_string().into());
        Self { key, api_version: object.api_version, text, content, file }
    }

    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Whether this is the same reading of the same document.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
    }

    /// Returns the object with all its unpublished fields.
    pub fn object(&self) -> Result<Object, Box<FolderProblem>> {
        let read = |reason: String| Box::new(unreadable(&self.file, &std::io::Error::other(reason)));
        let value = serde_json::from_str(&self.text).map_err(|error| read(error.to_string()))?;
        Object::from_json(value).map_err(|error| read(error.to_string()))
    }
}

impl Scan {
    fn add(&mut self, found: ManifestObject) {
        let key = found.key.clone();
        match self.first_file(&key) {
            Some(first) => {
                let (first, file) = (first.to_path_buf(), found.file.to_path_buf());
                self.problems.push(FolderProblem::Twice { key, first, file });
            }
            None => drop(self.objects.insert(key, found)),
        }
    }

    fn add_refused(&mut self, mut error: ManifestError, file: &Arc<Path>) {
        let object = error.object.take();
        let problem = FolderProblem::from(error);
        if let Some(object) = object {
            let key = key_of(&object);
            if self.first_file(&key).is_none() {
                let RefusedObject { api_version, problem: reason, .. } = *object;
                let (file, place) = (Arc::clone(file), problem.file());
                self.refused.insert(key, RefusedManifest { api_version, problem: reason, file, place });
            }
        }
        self.problems.push(problem);
    }

    /// The file of the document that defines an object.
    fn first_file(&self, key: &ObjectKey) -> Option<&Path> {
        let valid = self.objects.get(key).map(|found| &*found.file);
        valid.or_else(|| self.refused.get(key).map(|refused| &*refused.file))
    }

    /// The file that can't be read and may hide a missing object (P17). `file` is where the object was seen last; without
    /// one, any such file may hold it.
    #[must_use]
    pub fn hidden_by(&self, file: Option<&Path>) -> Option<&FolderProblem> {
        self.problems.iter().find(|problem| match (file, problem) {
            (Some(file), problem) => problem.hides(file),
            (None, problem) => !matches!(problem, FolderProblem::Twice { .. }),
        })
    }
}

impl Folder {
    #[must_use]
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, known: Mutex::default() }
    }

    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Reads every manifest, in the order of the paths. If nothing has changed, the result is that of the last time.
    #[must_use]
    pub fn scan(&self) -> Arc<Scan> {
        self.refresh(&mut self.known())
    }

    fn refresh(&self, known: &mut KnownFiles) -> Arc<Scan> {
        let mut problems = Vec::new();
        let files = self.files(&mut problems);
        known.scan(files, problems)
    }

    fn known(&self) -> MutexGuard<'_, KnownFiles> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one Secret. It is found even if another document of its file is broken.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        let of_file = |file: Arc<Path>| {
            let text = read(&file, &file.metadata().ok()?).ok()?;
            parse_naming(&file.display().to_string(), &text, name).into_iter().find_map(|parsed| match parsed {
                Ok(Manifest::Secret(secret)) => {
                    let own = secret.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                    (secret.metadata.name == name && own == namespace).then_some(secret)
                }
                _ => None,
            })
        };
        // The file may be replaced between the scan and the reading, and then the Secret may be in another one.
        (0..2).find_map(|_| {
            let mut known = self.known();
            self.refresh(&mut known);
            let file = known.secret_file(namespace, name)?;
            drop(known);
            of_file(file)
        })
    }

    /// Reads one object with all its unpublished fields. If its document is refused, or if it is not found and a file that
    /// may hold it can't be read, the result is that problem.
    pub fn object(&self, key: &ObjectKey) -> Result<Option<Object>, Box<FolderProblem>> {
        let scan = self.scan();
        if let Some(found) = scan.objects.get(key) {
            return Ok(Some(found.object()?));
        }
        let place = scan.refused.get(key).map(|refused| &refused.place);
        let hides = |problem: &&FolderProblem| match problem {
            FolderProblem::Manifest(error) => place == Some(&problem.file()) || may_name(error, &key.name),
            FolderProblem::Unreadable { .. } => true,
            FolderProblem::Twice { .. } => false,
        };
        scan.problems.iter().find(hides).map_or(Ok(None), |problem| Err(problem.clone().into()))
    }

    fn files(&self, problems: &mut Vec<FolderProblem>) -> Vec<(PathBuf, Metadata)> {
        let mut files = Vec::new();
        for dir in &self.dirs {
            collect(dir, 0, &mut files, problems);
        }
        files
    }
}

/// Whether a name occurs in a document of a file that can't be used. If the file has changed since, it may.
fn may_name(error: &ManifestError, name: &str) -> bool {
    let path = Path::new(&error.file);
    let text = path.metadata().ok().and_then(|data| read(path, &data).ok());
    text.is_none_or(|text| parse_naming(&error.file, &text, name).iter().any(Result::is_err))
}

fn unreadable(path: &Path, error: &std::io::Error) -> FolderProblem {
    FolderProblem::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<(PathBuf, Metadata)>, problems: &mut Vec<FolderProblem>) {
    let entries = match std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return problems.push(unreadable(dir, &error)),
    };
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let manifest = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        match path.metadata() {
            _ if hidden => {}
            Ok(data) if data.is_dir() && depth < DEPTH_LIMIT => collect(&path, depth + 1, files, problems),
            Ok(data) if data.is_dir() => {
                let deep = std::io::Error::other(format!("folders are read to a depth of {DEPTH_LIMIT}"));
                problems.push(unreadable(&path, &deep));
            }
            Ok(data) if data.is_file() && manifest => files.push((path, data)),
            Ok(_) => {}
            // A link that leads nowhere may lead to a volume that is not mounted now; without an extension, to a folder.
            // A file that vanished after the listing was deleted and is not unreadable.
            Err(error) if (manifest || path.extension().is_none()) && path.symlink_metadata().is_ok() => {
                problems.push(unreadable(&path, &error));
            }
            Err(_) => {}
        }
    }
}

fn read(file: &Path, data: &Metadata) -> Result<String, Box<FolderProblem>> {
    let size = data.len();
    let text = if size > FILE_LIMIT {
        Err(std::io::Error::other(format!("it is larger than {FILE_LIMIT} bytes ({size})")))
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| unreadable(file, &error).into())
}

/// The namespace of an object whose manifest names this one.
fn namespace_of(kind: Kind, written: Option<String>) -> Option<String> {
    kind.is_namespaced().then(|| written.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
}

fn with_namespace(mut object: Object) -> Object {
    object.metadata.namespace = namespace_of(object.kind(), object.metadata.namespace.take());
    object
}

fn key_of(refused: &RefusedObject) -> ObjectKey {
    let ObjectKey { group, kind, namespace, name } = refused.key.clone();
    ObjectKey { group, kind, namespace: namespace_of(kind, namespace), name }
}

/// Writes a manifest into a folder atomically, in place of a file of this name.
pub fn write_file(folder: &Path, file: &str, text: &str) -> std::io::Result<PathBuf> {
    through_draft(folder, file, text, |draft, path| std::fs::rename(draft, path))
}

/// Writes a new manifest into a folder atomically. If the file exists, even by a process that runs at the same time, the
/// error is `AlreadyExists` and the file stays as it is.
pub fn create_file(folder: &Path, file: &str, text: &str) -> std::io::Result<PathBuf> {
    through_draft(folder, file, text, |draft, path| {
        // A rename would replace the file; a second link to the draft fails if there is one.
        std::fs::hard_link(draft, path)?;
        std::fs::remove_file(draft)
    })
}

fn through_draft(
    folder: &Path,
    file: &str,
    text: &str,
    publish: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
) -> std::io::Result<PathBuf> {
    use std::io::Write as _;
    let path = folder.join(file);
    // Scans skip hidden files.
    let partial = folder.join(format!(".{file}.{}", std::process::id()));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut draft = std::fs::File::create(&partial)?;
        draft.write_all(text.as_bytes())?;
        draft.sync_all()?;
        publish(&partial, &path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&partial)))?;
    Ok(path)
}

/// The longest name of a file that Lagan creates, without `.yaml`. File systems allow 255 bytes, and a draft has a longer name.
const LONGEST_NAME: usize = 200;

/// Returns the file name of an object that Lagan creates. No part of it can hold the separator, so that two objects never share a
/// file. All of it is ASCII, as names of Kubernetes are.
#[must_use]
pub fn object_file(key: &ObjectKey) -> String {
    let ObjectKey { group, kind, namespace, name } = key;
    let kind = kind.as_str().to_ascii_lowercase();
    let mut file = format!("{kind}_{group}_{}_{name}", namespace.as_deref().unwrap_or_default());
    if file.len() > LONGEST_NAME {
        let unique = Uuid::new_v5(&Uuid::NAMESPACE_URL, file.as_bytes());
        file = format!("{}_{}", file.chars().take(LONGEST_NAME - 40).collect::<String>(), unique.simple());
    }
    file + ".yaml"
}

/// Returns the file of an object that an earlier version created. In its names `a-b` and `c` looked like `a` and `b-c`, so the
/// content decides whose it is.
#[must_use]
pub fn earlier_object_file(folder: &Path, key: &ObjectKey) -> Option<PathBuf> {
    let (kind, namespace) = (key.kind.as_str().to_ascii_lowercase(), key.namespace.as_deref().unwrap_or_default());
    let path = folder.join(format!("{kind}-{namespace}-{}.yaml", key.name));
    let text = std::fs::read_to_string(&path).ok()?;
    let is_its = |parsed: Result<Manifest, ManifestError>| match parsed {
        Ok(Manifest::Object(object)) => with_namespace(*object).key() == *key,
        Ok(_) => false,
        // An object that an earlier version accepted may break a rule of this one.
        Err(error) => error.object.is_some_and(|refused| key_of(&refused) == *key),
    };
    parse(&path.display().to_string(), &text).into_iter().any(is_its).then_some(path)
}

#[cfg(test)]
mod tests;
