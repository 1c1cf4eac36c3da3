//! Manifests: turns YAML text as people and programs write it into typed, validated objects. Errors name file, line,
//! column and the nearest field. It must not read files; the caller passes text and the name to print.

mod compiled;
mod documents;
mod rules;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::resource::app_binding::AppBindingSpec;
use crate::resource::backup_blueprint::BackupBlueprintSpec;
use crate::resource::backup_configuration::BackupConfigurationSpec;
use crate::resource::fields;
use crate::resource::function::FunctionSpec;
use crate::resource::repository::RepositorySpec;
use crate::resource::restore_session::RestoreSessionSpec;
use crate::resource::secret::Secret;
use crate::resource::{Group, Kind, Metadata, Object, Spec, without_quotations};
use crate::subject::{ObjectKey, label, token};

use documents::{Part, documents, items};
pub use rules::{blueprint_schedule, problems, schedule, update_problems};

/// A manifest larger than this is refused, as the API server does.
const SIZE_LIMIT: usize = 1_500_000;

/// One document of a manifest file.
#[derive(Debug, Clone)]
pub enum Manifest {
    Object(Box<Object>),
    Secret(Secret),
    /// A kind that Lagan does not read, such as a Deployment.
    Foreign {
        api_version: String,
        kind: String,
    },
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ManifestError {
    pub file: String,
    pub line: u64,
    pub column: u64,
    /// Says what is wrong, with which object if that is known, and what would be right.
    pub message: String,
    /// The source lines with a caret, for a terminal.
    pub snippet: Option<String>,
    /// The object of the document, if its group, kind and name can be read and Lagan publishes its kind.
    pub object: Option<Box<RefusedObject>>,
}

/// The part of a refused document that may be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedObject {
    pub api_version: String,
    /// Its namespace is as written: a folder has a default for objects without one.
    pub key: ObjectKey,
    /// The reason in the words that an object of a cluster shows. It quotes no values of the document.
    pub problem: String,
}

/// Parses every document of a file, and every item of a list. One that is wrong does not hide the others.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Result<Manifest, ManifestError>> {
    let mut manifests = Vec::new();
    for document in documents(text) {
        parse_part(file, &document, None, &mut manifests);
    }
    manifests
}

/// Parses the documents of a file in which a name occurs. All others can't be about an object of this name.
#[must_use]
pub fn parse_naming(file: &str, text: &str, name: &str) -> Vec<Result<Manifest, ManifestError>> {
    let mut manifests = Vec::new();
    for document in documents(text).iter().filter(|document| document.text.contains(name)) {
        parse_part(file, document, None, &mut manifests);
    }
    manifests
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Option<HeadMetadata>,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// A whole document. Only the parts that people write refuse unknown fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Typed<S> {
    #[serde(default, rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(default, rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: S,
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// The spec as it was written, with fields that its type does not know.
#[derive(Deserialize)]
struct Written {
    spec: serde_json::Value,
}

/// `apiVersion` and `kind` of an object.
struct TypeMeta {
    api_version: String,
    kind: String,
}

/// Parses a part of a file. Blank lines in front of it give an error its place in the file, but cost time in long files, so
/// they are added only if there is an error.
fn parse_part(
    file: &str,
    part: &Part,
    assumed: Option<&TypeMeta>,
    manifests: &mut Vec<Result<Manifest, ManifestError>>,
) {
    let first = manifests.len();
    parse_document(file, &part.text, assumed, manifests);
    if part.line > 0 && manifests[first..].iter().any(Result::is_err) {
        manifests.truncate(first);
        parse_document(file, &part.in_place(), assumed, manifests);
    }
}

/// Parses one document. `assumed` is the type of a typed list's items, which may leave it out.
fn parse_document(
    file: &str,
    text: &str,
    assumed: Option<&TypeMeta>,
    manifests: &mut Vec<Result<Manifest, ManifestError>>,
) {
    let mut head: Head = match yaml(file, text) {
        Ok(head) => head,
        Err(error) => return manifests.push(Err(error)),
    };
    if let Some(assumed) = assumed.filter(|_| head.api_version.is_empty() && head.kind.is_empty()) {
        head.api_version.clone_from(&assumed.api_version);
        head.kind.clone_from(&assumed.kind);
    }
    let of_items = head.kind.strip_suffix("List").filter(|_| !head.api_version.is_empty());
    if let (Some(kind), Some(items)) = (of_items, items(text)) {
        let typed = TypeMeta { api_version: head.api_version.clone(), kind: kind.to_owned() };
        let assumed = Some(&typed).filter(|typed| !typed.kind.is_empty());
        return items.iter().for_each(|item| parse_part(file, item, assumed, manifests));
    }
    manifests.push(parse_object(file, text, &head).map_err(|mut error| {
        let problem = || without_quotations(&error.message);
        error.object = error.object.take().or_else(|| refused_object(text, &head, problem()));
        error
    }));
}

/// Reads which object a refused document is about. It is published with its reason only if a subject can name it.
fn refused_object(text: &str, head: &Head, problem: String) -> Option<Box<RefusedObject>> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
        #[serde(default)]
        namespace: Option<String>,
    }
    let kind = Kind::known(&head.kind).filter(|kind| *kind != Kind::Secret)?;
    let group = Group::of(&head.api_version);
    // A version that Lagan does not read may be one of its groups all the same.
    kind.api_versions().iter().find(|known| Group::of(known) == group)?;
    let Name { name, namespace } = serde_saphyr::from_str::<Named>(text).ok()?.metadata;
    let namespace = given(namespace).filter(|_| kind.is_namespaced());
    let key = ObjectKey { group: group.as_str().to_owned(), kind, namespace, name };
    key.check().ok()?;
    Some(Box::new(RefusedObject { api_version: head.api_version.clone(), key, problem }))
}

fn parse_object(file: &str, text: &str, head: &Head) -> Result<Manifest, ManifestError> {
    let at = |message: String| ManifestError {
        file: file.to_owned(),
        line: first_line(text),
        column: 1,
        message,
        snippet: None,
        object: None,
    };
    let size = text.trim_start().len();
    if size > SIZE_LIMIT {
        return Err(at(format!("object of {size} bytes is larger than {SIZE_LIMIT}")));
    }
    let Some(kind) = Kind::known(&head.kind).filter(|kind| kind.api_versions().contains(&head.api_version.as_str()))
    else {
        return foreign(head).map_err(at);
    };
    check_names(kind, head.metadata.as_ref()).map_err(at)?;
    if kind == Kind::Secret {
        let mut secret: Secret = yaml(file, text)?;
        secret.metadata.namespace = given(secret.metadata.namespace);
        return Ok(Manifest::Secret(secret));
    }
    let (mut metadata, spec) = match kind {
        Kind::Repository => typed(file, text, |s: RepositorySpec| Spec::Repository(Box::new(s)))?,
        Kind::BackupConfiguration => {
            typed(file, text, |s: BackupConfigurationSpec| Spec::BackupConfiguration(Box::new(s)))?
        }
        Kind::BackupSession => typed(file, text, Spec::BackupSession)?,
        Kind::RestoreSession => typed(file, text, |s: RestoreSessionSpec| Spec::RestoreSession(Box::new(s)))?,
        Kind::BackupBlueprint => typed(file, text, |s: BackupBlueprintSpec| Spec::BackupBlueprint(Box::new(s)))?,
        Kind::Task => typed(file, text, Spec::Task)?,
        Kind::Function => typed(file, text, |s: FunctionSpec| Spec::Function(Box::new(s)))?,
        Kind::AppBinding | Kind::Secret | Kind::Other(_) => {
            typed(file, text, |s: AppBindingSpec| Spec::AppBinding(Box::new(s)))?
        }
    };
    metadata.namespace = given(metadata.namespace);
    let mut object = Object { api_version: head.api_version.clone(), metadata, spec, ignored_fields: Vec::new() };
    // Only the type of an AppBinding accepts unknown fields.
    let written = (kind == Kind::AppBinding).then(|| yaml::<Written>(file, text).ok()).flatten();
    let written = written.map_or_else(|| object.spec_json(), |written| written.spec);
    object.ignored_fields = fields::ignored_paths(object.group(), kind, &written);
    let problems = problems(&object);
    if problems.is_empty() {
        return Ok(Manifest::Object(Box::new(object)));
    }
    let problem = problems.join("; ");
    let error = at(format!("{kind} `{}`: {problem}", object.metadata.name));
    Err(ManifestError { object: refused_object(text, head, problem), ..error })
}

/// Refuses names that can't be part of a subject, and namespaces that no cluster can have. An absent name is reported with
/// its place when the whole document is read.
fn check_names(kind: Kind, metadata: Option<&HeadMetadata>) -> Result<(), String> {
    let Some(metadata) = metadata else { return Ok(()) };
    if let Some(name) = &metadata.name {
        token(name).map_err(|error| format!("{kind}: metadata.name: {error}"))?;
    }
    match given(metadata.namespace.clone()) {
        Some(namespace) if kind.is_namespaced() => {
            label(&namespace).map_err(|error| format!("{kind}: metadata.namespace: {error}"))
        }
        _ => Ok(()),
    }
}

/// An empty namespace counts as absent, as for the API server.
fn given(namespace: Option<String>) -> Option<String> {
    namespace.filter(|namespace| !namespace.is_empty())
}

/// Refuses a kind of our groups in an unknown version. Objects of other groups are foreign, which is no error.
fn foreign(head: &Head) -> Result<Manifest, String> {
    use crate::resource::kind::{APP_CATALOG, LAGAN, STASH};
    if head.kind.is_empty() || head.api_version.is_empty() {
        return Err("not a Kubernetes object: `apiVersion` and `kind` are missing".to_owned());
    }
    let group = head.api_version.split_once('/').map_or("", |(group, _)| group);
    if let (LAGAN | STASH | APP_CATALOG, Some(kind)) = (group, Kind::known(&head.kind)) {
        return Err(format!(
            "{kind} has apiVersion `{}`; Lagan reads {}",
            head.api_version,
            kind.api_versions().join(" and ")
        ));
    }
    if group == LAGAN {
        let kinds = Kind::ALL;
        return Err(format!(
            "unknown kind `{}`{}",
            head.kind,
            nearest(&head.kind, &kinds.each_ref().map(Kind::as_str))
        ));
    }
    Ok(Manifest::Foreign { api_version: head.api_version.clone(), kind: head.kind.clone() })
}

fn typed<S: DeserializeOwned>(
    file: &str,
    text: &str,
    wrap: impl Fn(S) -> Spec,
) -> Result<(Metadata, Spec), ManifestError> {
    let typed: Typed<S> = yaml(file, text)?;
    Ok((typed.metadata, wrap(typed.spec)))
}

fn first_line(text: &str) -> u64 {
    text.lines().take_while(|line| line.trim().is_empty()).count() as u64 + 1
}

fn yaml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ManifestError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let plain = error.without_snippet();
        let location = plain.location();
        let mut message = match plain {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                format!("unknown field `{field}`{}", nearest(field, expected))
            }
            serde_saphyr::Error::SerdeMissingField { field, .. } => format!("field `{field}` is missing"),
            serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
                format!("unknown value `{variant}`{}", nearest(variant, expected))
            }
            other => other.to_string(),
        };
        // The location is printed in front of the message.
        if let Some(suffix) = location.map(|l| format!(" at line {}, column {}", l.line(), l.column()))
            && message.ends_with(&suffix)
        {
            message.truncate(message.len() - suffix.len());
        }
        message.truncate(message.floor_char_boundary(1000));
        ManifestError {
            file: file.to_owned(),
            line: location.map_or_else(|| first_line(text), |l| l.line()),
            column: location.map_or(1, |l| l.column()),
            message,
            snippet: Some(error.render()),
            object: None,
        }
    })
}

/// Suggests the nearest candidate (`; did you mean `schedule`?`), or lists all of them.
#[must_use]
pub fn nearest(word: &str, candidates: &[&str]) -> String {
    let best = candidates.iter().map(|c| (distance(word, c), *c)).min();
    match best {
        Some((distance, candidate)) if distance <= 1 + word.len() / 4 => format!("; did you mean `{candidate}`?"),
        _ if candidates.is_empty() => String::new(),
        _ => format!("; known are {}", candidates.join(", ")),
    }
}

/// Levenshtein distance without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
