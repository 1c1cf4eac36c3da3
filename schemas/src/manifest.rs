//! Manifests: YAML text to typed, validated objects, with errors that name file, line, column and the nearest field.
//! It must not read files; the caller passes text and the name to print.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use uuid::Uuid;

use crate::resource::app_binding::{AppBindingSpec, DatabaseUrl};
use crate::resource::backup_blueprint::BackupBlueprintSpec;
use crate::resource::backup_configuration::BackupConfigurationSpec;
use crate::resource::backup_session::BackupSessionSpec;
use crate::resource::function::FunctionSpec;
use crate::resource::repository::RepositorySpec;
use crate::resource::restore_session::RestoreSessionSpec;
use crate::resource::secret::Secret;
use crate::resource::task::TaskSpec;
use crate::resource::{Kind, Metadata, Object, Spec};
use crate::schedule::Schedule;
use crate::subject::token;

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
    /// What is wrong, which object where known, and what would be right.
    pub message: String,
    /// The source lines with a caret, for a terminal.
    pub snippet: Option<String>,
}

/// Parses every document of a file. One that is wrong does not hide the others.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Result<Manifest, ManifestError>> {
    documents(text).into_iter().map(|document| parse_document(file, &document)).collect()
}

/// Cuts at document markers. Each keeps its line numbers: the lines before it are there, and empty.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("---") && line[3..].trim_start().is_empty() {
            documents.push("\n".repeat(number + 1));
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says_something = |document: &String| {
        document.lines().any(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'))
    };
    documents.retain(says_something);
    documents
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
}

/// The whole document; only what people write in it is held strictly.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Typed<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: S,
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

fn parse_document(file: &str, text: &str) -> Result<Manifest, ManifestError> {
    let at = |message: String| ManifestError {
        file: file.to_owned(),
        line: first_line(text),
        column: 1,
        message,
        snippet: None,
    };
    if text.len() > SIZE_LIMIT {
        return Err(at(format!("object of {} bytes is larger than {SIZE_LIMIT}", text.len())));
    }
    let head: Head = yaml(file, text)?;
    let Some(kind) =
        head.kind.parse::<Kind>().ok().filter(|kind| kind.api_versions().contains(&head.api_version.as_str()))
    else {
        return foreign(head).map_err(at);
    };
    let name = &head.metadata.name;
    token(name).map_err(|error| at(format!("{kind}: metadata.name: {error}")))?;
    if kind == Kind::Secret {
        return yaml(file, text).map(Manifest::Secret);
    }
    let (metadata, spec) = match kind {
        Kind::Repository => typed(file, text, |s: RepositorySpec| Spec::Repository(Box::new(s)))?,
        Kind::BackupConfiguration => {
            typed(file, text, |s: BackupConfigurationSpec| Spec::BackupConfiguration(Box::new(s)))?
        }
        Kind::BackupSession => typed(file, text, Spec::BackupSession)?,
        Kind::RestoreSession => typed(file, text, |s: RestoreSessionSpec| Spec::RestoreSession(Box::new(s)))?,
        Kind::BackupBlueprint => typed(file, text, |s: BackupBlueprintSpec| Spec::BackupBlueprint(Box::new(s)))?,
        Kind::Task => typed(file, text, Spec::Task)?,
        Kind::Function => typed(file, text, |s: FunctionSpec| Spec::Function(Box::new(s)))?,
        Kind::AppBinding | Kind::Secret => typed(file, text, |s: AppBindingSpec| Spec::AppBinding(Box::new(s)))?,
    };
    let object = Object { api_version: head.api_version, metadata, spec };
    let problems = problems(&object);
    if problems.is_empty() {
        Ok(Manifest::Object(Box::new(object)))
    } else {
        Err(at(format!("{kind} `{}`: {}", object.metadata.name, problems.join("; "))))
    }
}

/// A kind of our groups in a version we do not know is an error; other groups are none of our business.
fn foreign(head: Head) -> Result<Manifest, String> {
    use crate::resource::kind::{APP_CATALOG, LAGAN, STASH};
    if head.kind.is_empty() || head.api_version.is_empty() {
        return Err("not a Kubernetes object: `apiVersion` and `kind` are missing".to_owned());
    }
    let group = head.api_version.split_once('/').map_or("", |(group, _)| group);
    if let (LAGAN | STASH | APP_CATALOG, Ok(kind)) = (group, head.kind.parse::<Kind>()) {
        return Err(format!(
            "{kind} has apiVersion `{}`; Lagan reads {}",
            head.api_version,
            kind.api_versions().join(" and ")
        ));
    }
    if group == LAGAN {
        let kinds = Kind::ALL.map(Kind::as_str);
        return Err(format!("unknown kind `{}`{}", head.kind, nearest(&head.kind, &kinds)));
    }
    Ok(Manifest::Foreign { api_version: head.api_version, kind: head.kind })
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
        // The place is printed in front.
        if let Some(place) = location.map(|l| format!(" at line {}, column {}", l.line(), l.column()))
            && message.ends_with(&place)
        {
            message.truncate(message.len() - place.len());
        }
        message.truncate(message.floor_char_boundary(1000));
        ManifestError {
            file: file.to_owned(),
            line: location.map_or_else(|| first_line(text), |l| l.line()),
            column: location.map_or(1, |l| l.column()),
            message,
            snippet: Some(error.render()),
        }
    })
}

/// `; did you mean `schedule`?` or the list of what is possible.
fn nearest(word: &str, candidates: &[&str]) -> String {
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

/// What is wrong with an object: the same CEL rules that the API server enforces, and what CEL can't say.
#[must_use]
pub fn problems(object: &Object) -> Vec<String> {
    let spec = object.spec_json();
    let checked = match &object.spec {
        Spec::Repository(_) => RepositorySpec::validate_cel(&spec, None),
        Spec::BackupConfiguration(_) => BackupConfigurationSpec::validate_cel(&spec, None),
        Spec::BackupSession(_) => BackupSessionSpec::validate_cel(&spec, None),
        Spec::RestoreSession(_) => RestoreSessionSpec::validate_cel(&spec, None),
        Spec::BackupBlueprint(_) => BackupBlueprintSpec::validate_cel(&spec, None),
        Spec::Task(_) => TaskSpec::validate_cel(&spec, None),
        Spec::Function(_) => FunctionSpec::validate_cel(&spec, None),
        Spec::AppBinding(_) => Ok(()),
    };
    let mut problems: Vec<String> =
        checked.err().map(|errors| errors.into_vec().into_iter().map(|e| e.message).collect()).unwrap_or_default();
    if !problems.is_empty() {
        return problems;
    }
    match &object.spec {
        Spec::BackupConfiguration(spec) => {
            if let Err(error) = schedule(spec, Uuid::nil()) {
                problems.push(error.to_string());
            }
        }
        Spec::AppBinding(spec) => {
            let config = &spec.client_config;
            match (&config.service, &config.url) {
                (None, None) => problems.push("clientConfig: name a `service` or a `url`".to_owned()),
                (None, Some(url)) => problems.extend(DatabaseUrl::parse(url).err().map(|e| e.to_string())),
                (Some(service), _) => {
                    if token(&service.name).is_err() || service.name.starts_with('-') {
                        problems.push(format!(
                            "clientConfig.service.name: `{}` is not the name of a Service",
                            service.name
                        ));
                    }
                    // 0 is what exported objects carry for "none".
                    if u16::try_from(service.port).is_err() {
                        problems.push(format!("clientConfig.service.port: must be 1 to 65535, not {}", service.port));
                    }
                }
            }
        }
        Spec::RestoreSession(spec) => {
            for rules in [&spec.rules, spec.target.as_ref().map_or(&spec.rules, |target| &target.rules)] {
                let mut hosts: Vec<&String> = rules.iter().flat_map(|rule| &rule.target_hosts).collect();
                hosts.sort_unstable();
                if let Some([twice, ..]) = hosts.windows(2).find(|pair| pair.first() == pair.last()) {
                    problems.push(format!("target.rules: a host may occur in one rule only, `{twice}` is in two"));
                    break;
                }
            }
        }
        _ => {}
    }
    problems
}

/// Whether a changed spec of the same object is legal: the transition rules of the types.
#[must_use]
pub fn update_problems(old: &Object, new: &Object) -> Vec<String> {
    let (before, after) = (old.spec_json(), new.spec_json());
    let checked = match &new.spec {
        Spec::BackupSession(_) => BackupSessionSpec::validate_cel(&after, Some(&before)),
        Spec::RestoreSession(_) => RestoreSessionSpec::validate_cel(&after, Some(&before)),
        _ => Ok(()),
    };
    checked.err().map(|errors| errors.into_vec().into_iter().map(|e| e.message).collect()).unwrap_or_default()
}

/// The schedule of a configuration.
pub fn schedule(spec: &BackupConfigurationSpec, uid: Uuid) -> Result<Schedule, crate::schedule::ScheduleError> {
    let jitter = spec.jitter.map_or(std::time::Duration::ZERO, Into::into);
    Schedule::parse(&spec.schedule, spec.time_zone.as_deref(), jitter, uid)
}
