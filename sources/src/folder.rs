//! A folder of manifests: scans of the whole folder, and look-ups of single objects.
//! It must not publish anything. A folder that can't be read completely must not look like one with fewer objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lagan_schemas::manifest::{Manifest, ManifestError, parse};
use lagan_schemas::resource::secret::Secret;
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::ObjectKey;

/// Depth limit of nested folders, which also ends circular links.
const DEPTH_LIMIT: usize = 8;
/// Size limit of a file, in bytes.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
const DEFAULT_NAMESPACE: &str = "default";

/// Folders that together are the source of intent.
#[derive(Debug, Clone)]
pub struct Folder {
    dirs: Vec<PathBuf>,
}

/// The result of one scan.
#[derive(Debug, Default)]
pub struct Scan {
    pub objects: BTreeMap<ObjectKey, ManifestObject>,
    pub problems: Vec<FolderProblem>,
    /// Kinds that Lagan does not read, as `apiVersion kind`.
    pub foreign: Vec<String>,
}

/// An object and its file.
#[derive(Debug, Clone)]
pub struct ManifestObject {
    pub object: Object,
    pub file: PathBuf,
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

impl Scan {
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
        Self { dirs }
    }

    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Reads every manifest, in the order of the paths.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        let files = self.files(&mut scan.problems);
        for file in files {
            let Some(text) = read(&file, &mut scan.problems) else { continue };
            for manifest in parse(&file.display().to_string(), &text) {
                match manifest {
                    Ok(Manifest::Object(object)) => add(&mut scan, *object, &file),
                    Ok(Manifest::Secret(_)) => {}
                    Ok(Manifest::Foreign { api_version, kind }) => scan.foreign.push(format!("{api_version} {kind}")),
                    Err(error) => scan.problems.push(error.into()),
                }
            }
        }
        scan
    }

    /// Reads one Secret. It is found even if another document of its file is broken.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.find(name, |manifest| match manifest {
            Manifest::Secret(secret) => {
                let own = secret.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                (secret.metadata.name == name && own == namespace).then_some(secret)
            }
            _ => None,
        })
    }

    /// Reads one object with all its unpublished fields. If it is not found and a file that may hold it can't be read, the
    /// result is that problem.
    pub fn object(&self, key: &ObjectKey) -> Result<Option<Object>, Box<FolderProblem>> {
        let mut problems = Vec::new();
        let found = self.find_with(&key.name, &mut problems, |manifest| match manifest {
            Manifest::Object(object) => {
                let object = with_namespace(*object);
                (object.key() == *key).then_some(object)
            }
            _ => None,
        });
        match (found, problems.pop()) {
            (None, Some(problem)) => Err(problem.into()),
            (found, _) => Ok(found),
        }
    }

    fn find<T>(&self, name: &str, pick: impl FnMut(Manifest) -> Option<T>) -> Option<T> {
        self.find_with(name, &mut Vec::new(), pick)
    }

    /// Searches the files that contain the name.
    fn find_with<T>(
        &self,
        name: &str,
        problems: &mut Vec<FolderProblem>,
        mut pick: impl FnMut(Manifest) -> Option<T>,
    ) -> Option<T> {
        self.files(problems).into_iter().find_map(|file| {
            let text = read(&file, problems).filter(|text| text.contains(name))?;
            parse(&file.display().to_string(), &text).into_iter().find_map(|manifest| match manifest {
                Ok(manifest) => pick(manifest),
                Err(error) => {
                    problems.push(error.into());
                    None
                }
            })
        })
    }

    fn files(&self, problems: &mut Vec<FolderProblem>) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for dir in &self.dirs {
            collect(dir, 0, &mut files, problems);
        }
        files
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> FolderProblem {
    FolderProblem::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Vec<FolderProblem>) {
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
            Ok(data) if data.is_file() && manifest => files.push(path),
            Ok(_) => {}
            // A link that leads nowhere may lead to a volume that is not mounted now; without an extension, to a folder.
            // What vanished after the listing was deleted and is not unreadable.
            Err(error) if (manifest || path.extension().is_none()) && path.symlink_metadata().is_ok() => {
                problems.push(unreadable(&path, &error));
            }
            Err(_) => {}
        }
    }
}

fn read(file: &Path, problems: &mut Vec<FolderProblem>) -> Option<String> {
    let size = file.metadata().map_or(0, |data| data.len());
    let text = if size > FILE_LIMIT {
        Err(std::io::Error::other(format!("it is larger than {FILE_LIMIT} bytes ({size})")))
    } else {
        std::fs::read_to_string(file)
    };
    match text {
        Ok(text) => Some(text),
        Err(error) => {
            problems.push(unreadable(file, &error));
            None
        }
    }
}

fn with_namespace(mut object: Object) -> Object {
    if object.kind().is_namespaced() {
        object.metadata.namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
    } else {
        object.metadata.namespace = None;
    }
    object
}

fn add(scan: &mut Scan, object: Object, file: &Path) {
    let object = with_namespace(object);
    let key = object.key();
    match scan.objects.get(&key) {
        Some(first) => {
            scan.problems.push(FolderProblem::Twice { key, first: first.file.clone(), file: file.to_owned() });
        }
        None => drop(scan.objects.insert(key, ManifestObject { object, file: file.to_owned() })),
    }
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

/// Returns the file name of an object that Lagan creates.
#[must_use]
pub fn object_file(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{}-{namespace}-{name}.yaml", kind.as_str().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const REPOSITORY: &str = "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec:\n  backend: {storageSecretName: s, local: {mountPath: /x}}\n";
    const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {RESTIC_PASSWORD: p}\n";

    #[test]
    fn a_broken_file_hides_its_own_objects_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), format!("{REPOSITORY}---\n{SECRET}")).unwrap();
        std::fs::write(
            dir.path().join("b.yaml"),
            "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: q}\nspec:\n  backnd: {}\n",
        )
        .unwrap();
        let folder = Folder::new(vec![dir.path().to_owned()]);
        let scan = folder.scan();
        assert_eq!(scan.objects.len(), 1);
        let is_hidden = |file: &str| scan.hidden_by(Some(&dir.path().join(file))).is_some();
        assert!(is_hidden("b.yaml") && !is_hidden("a.yaml") && !is_hidden("c.yaml") && scan.hidden_by(None).is_some());
        let text = scan.problems[0].to_string();
        assert!(text.ends_with("b.yaml:5:3: unknown field `backnd`; did you mean `backend`?"), "{text}");
        assert_eq!(folder.secret("default", "s").unwrap().text("RESTIC_PASSWORD").unwrap(), "p");
        assert!(folder.secret("other", "s").is_none());
    }

    #[test]
    fn an_object_that_may_stand_in_a_broken_file_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(vec![dir.path().to_owned()]);
        let key = |name: &str| ObjectKey {
            group: "lagan.dev".to_owned(),
            kind: Kind::Repository,
            namespace: Some("default".to_owned()),
            name: name.to_owned(),
        };
        let (named, other) = (REPOSITORY.replace("{name: r}", "{name: first}"), "name: second\n");
        std::fs::write(dir.path().join("a.yaml"), &named).unwrap();
        std::fs::write(dir.path().join("b.yaml"), other).unwrap();
        assert!(folder.object(&key("first")).unwrap().is_some());
        assert!(folder.object(&key("third")).unwrap().is_none());
        let problem = folder.object(&key("second")).unwrap_err();
        assert!(problem.file().ends_with("b.yaml:1:1"), "{problem}");
        // An object that is found exists, whatever the state of other files.
        std::fs::write(dir.path().join("0.yaml"), "first: [\n").unwrap();
        assert!(folder.object(&key("first")).unwrap().is_some());
    }

    #[test]
    fn a_file_is_created_by_one_of_two_writers() {
        let dir = tempfile::tempdir().unwrap();
        create_file(dir.path(), "a.yaml", "first").unwrap();
        let error = create_file(dir.path(), "a.yaml", "second").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(dir.path().join("a.yaml")).unwrap(), "first");
        write_file(dir.path(), "a.yaml", "third").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_problem_and_not_an_empty_one() {
        let folder = Folder::new(vec![PathBuf::from("/nonexistent/lagan")]);
        let scan = folder.scan();
        let is_hidden = |file: &str| scan.hidden_by(Some(Path::new(file))).is_some();
        assert!(is_hidden("/nonexistent/lagan/a/b.yaml") && !is_hidden("/nonexistent/laganb.yaml"));
        assert!(scan.hidden_by(None).is_some());
    }

    #[test]
    fn a_link_that_leads_nowhere_hides_what_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        for link in ["a.yaml", "volume", "notes.txt", ".hidden.yaml"] {
            std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join(link)).unwrap();
        }
        let scan = Folder::new(vec![dir.path().to_owned()]).scan();
        let is_hidden = |file: &str| scan.hidden_by(Some(&dir.path().join(file))).is_some();
        assert!(is_hidden("a.yaml") && is_hidden("volume/b.yaml") && !is_hidden("notes.txt"));
        assert_eq!(scan.problems.len(), 2, "{:?}", scan.problems);
    }

    #[test]
    fn a_folder_that_is_too_deep_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..=DEPTH_LIMIT).fold(dir.path().to_owned(), |path, level| path.join(level.to_string()));
        std::fs::create_dir_all(&deep).unwrap();
        let scan = Folder::new(vec![dir.path().to_owned()]).scan();
        assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
        assert!(scan.hidden_by(Some(&deep.join("a.yaml"))).is_some());
    }
}
