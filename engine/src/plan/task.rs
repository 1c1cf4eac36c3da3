//! Resolves Task and Function into one step with nothing left to substitute. A user's own objects come first, then the
//! built-in ones, which are also found by Stash's names.

use std::collections::{BTreeMap, BTreeSet};

use lagan_schemas::catalogue;
use lagan_schemas::engine::Engine;
use lagan_schemas::error::{Code, chain};
use lagan_schemas::manifest::nearest;
use lagan_schemas::plan::Step;
use lagan_schemas::resource::backup_configuration::TaskRef;
use lagan_schemas::resource::fields::refusal;
use lagan_schemas::resource::function::FunctionSpec;
use lagan_schemas::resource::task::{TaskSpec, TaskStep};
use lagan_schemas::resource::{Group, Kind, Object, Param, Spec};
use lagan_schemas::substitution::{Variables, names, substitute};

use super::find::{Binding, valid};
use super::{PlanInputs, Unresolved, refused};
use crate::view::View;

const DEFAULT_WAIT_SECONDS: u32 = 300;
/// The reason why `outputDir` is ignored.
const NO_OUTPUT: &str = "the result of a session is in its status, and no file is written";

/// Direction of the stream between database and snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Backup,
    Restore,
}

/// An invoker, the Task that it names, and the AppBinding of its target, which may name a Task too.
#[derive(Clone, Copy)]
pub(crate) struct TaskContext<'a> {
    pub invoker: &'a Object,
    pub task: Option<&'a TaskRef>,
    pub binding: Binding<'a>,
}

pub(super) struct Resolved {
    pub step: Step,
    /// Path of the stream in the snapshot, with a leading `/`.
    pub path: String,
    pub engine: &'static Engine,
    pub wait_seconds: u32,
}

pub(super) fn resolve(
    inputs: &PlanInputs<'_>,
    given: TaskContext<'_>,
    direction: Direction,
    built_in: &Variables,
) -> Result<Resolved, Unresolved> {
    let Chosen { name, params, step, function } = choose(inputs.view, given, direction)?;
    if let Some(problem) = bad_param(given, &name, &params, &function) {
        return Err(refused(Code::InvalidSpec, problem));
    }
    let mut variables: Variables = step.params.iter().map(|p| (p.name.clone(), p.value.clone())).collect();
    variables.extend(built_in.clone());
    variables.extend(params);
    let wait_seconds = variables.get(WAIT_TIMEOUT).map_or(Ok(DEFAULT_WAIT_SECONDS), |text| {
        text.parse().map_err(|_| {
            refused(Code::InvalidSpec, format!("task.params: waitTimeout `{text}` is not a number of seconds"))
        })
    })?;
    let engine = engine(&step.name, &function)?;
    let path = path(&step.name, &function, direction)?;
    let step = render(&step.name, &function, &variables)?;
    Ok(Resolved { step, path, engine, wait_seconds })
}

/// The Task that runs, its one step that streams, and the Function of this step.
struct Chosen {
    name: String,
    params: BTreeMap<String, String>,
    step: TaskStep,
    function: FunctionSpec,
}

fn choose(view: &View, given: TaskContext<'_>, direction: Direction) -> Result<Chosen, Unresolved> {
    let (name, params) = task_of(given, direction)?;
    let group = given.invoker.group();
    let task = task(view, group, &name)?;
    let mut steps = task.steps.into_iter().filter(|step| !catalogue::is_done_by_the_worker(&step.name));
    let (Some(step), None) = (steps.next(), steps.next()) else {
        let message = format!("Task `{name}`: Lagan runs Tasks with exactly one Function that streams");
        return Err(refused(Code::FunctionNotSupported, message));
    };
    let function = function(view, group, &step.name)?;
    Ok(Chosen { name, params, step, function })
}

/// The parameter that Lagan reads itself.
const WAIT_TIMEOUT: &str = "waitTimeout";
/// The parameter of Stash's Tasks that has no meaning here, unless a Function of the user reads it.
const OUTPUT_DIR: &str = "outputDir";

/// Says which parameter no part of the Function reads. A misspelled one would leave its default in force: `arg` instead of
/// `args` would dump every database.
fn bad_param(
    given: TaskContext<'_>,
    task: &str,
    params: &BTreeMap<String, String>,
    function: &FunctionSpec,
) -> Option<String> {
    let own = given.task.is_some_and(|task| task.params.iter().any(|param| param.name == OUTPUT_DIR));
    let mut known = read_by(function);
    known.insert(WAIT_TIMEOUT);
    if given.invoker.group() == Group::Lagan && own && !known.contains(OUTPUT_DIR) {
        return Some(refusal(&format!("task.params[{OUTPUT_DIR}]"), NO_OUTPUT));
    }
    let accepted = |name: &str| known.contains(name) || name == OUTPUT_DIR;
    let unknown = params.keys().find(|name| !accepted(name))?;
    let known: Vec<&str> = known.into_iter().collect();
    Some(format!("task.params: Task `{task}` has no parameter `{unknown}`{}", nearest(unknown, &known)))
}

/// The parameters that the templates of a Function read.
fn read_by(function: &FunctionSpec) -> BTreeSet<&str> {
    let templates = function.command.iter().chain(&function.args).chain(&function.extra_args);
    templates.flat_map(|template| names(template)).collect()
}

/// The parameter of an invoker that has no effect, and the reason, as `FieldIgnored` shows them.
pub(super) fn ignored_param(view: &View, given: TaskContext<'_>, direction: Direction) -> Option<String> {
    let Chosen { params, function, .. } = choose(view, given, direction).ok()?;
    let is_ignored = params.contains_key(OUTPUT_DIR) && !read_by(&function).contains(OUTPUT_DIR);
    is_ignored.then(|| format!("task.params[{OUTPUT_DIR}] ({NO_OUTPUT})"))
}

/// The problem with the Task that a configuration or a restore would run, as far as it can be known before a session.
pub(crate) fn problem(view: &View, given: TaskContext<'_>, direction: Direction) -> Option<String> {
    let Chosen { name, params, function, .. } = choose(view, given, direction).ok()?;
    bad_param(given, &name, &params, &function)
}

/// Name and parameters of the Task: each is the invoker's own, else the AppBinding's.
fn task_of(given: TaskContext<'_>, direction: Direction) -> Result<(String, BTreeMap<String, String>), Unresolved> {
    let Binding { object, spec } = given.binding;
    let addon = spec.parameters.as_ref().and_then(|p| p.stash.as_ref()).map(|stash| &stash.addon);
    let default = addon.and_then(|addon| match direction {
        Direction::Backup => addon.backup_task.as_ref(),
        Direction::Restore => addon.restore_task.as_ref(),
    });
    let named = |task: Option<&TaskRef>| task.map(|task| task.name.clone()).filter(|name| !name.is_empty());
    let name = named(given.task).or_else(|| named(default)).or_else(|| by_type(spec.kind.as_deref(), direction));
    let name = name.ok_or_else(|| {
        let message =
            format!("task.name: AppBinding {} names no Task and its type says none either", object.metadata.name);
        refused(Code::InvalidSpec, message)
    })?;
    let pairs = |task: Option<&TaskRef>| task.map(|task| task.params.clone()).unwrap_or_default();
    let params =
        pairs(default).into_iter().chain(pairs(given.task)).map(|Param { name, value }| (name, value)).collect();
    Ok((name, params))
}

/// `kubedb.com/mariadb` and `mariadb` are the same kind of database.
fn by_type(kind: Option<&str>, direction: Direction) -> Option<String> {
    let tasks = &catalogue::engine_of_type(kind?)?.tasks;
    Some(match direction {
        Direction::Backup => tasks.backup.clone(),
        Direction::Restore => tasks.restore.clone(),
    })
}

/// The engine of a Function's database.
fn engine(name: &str, function: &FunctionSpec) -> Result<&'static Engine, Unresolved> {
    let database = function.database.as_deref();
    let database = database.ok_or_else(|| unsupported(name, "does not say which `database` it is for"))?;
    catalogue::engine(database).ok_or_else(|| {
        let known: Vec<&str> = catalogue::engines().iter().map(|engine| engine.name.as_str()).collect();
        unsupported(name, &format!("is for database `{database}`; there are {}", known.join(", ")))
    })
}

fn task(view: &View, group: Group, name: &str) -> Result<TaskSpec, Unresolved> {
    let own = valid(view, Kind::Task, group, None, name)?;
    match own.or_else(|| catalogue::find(Kind::Task, name)).map(|object| &object.spec) {
        Some(Spec::Task(spec)) => Ok(spec.clone()),
        _ => Err(Unresolved::Missing(vec![format!("Task {name}")])),
    }
}

/// Finds a Function. Those of Stash's group run in images that Lagan does not have: they map to built-in ones by name.
fn function(view: &View, group: Group, name: &str) -> Result<FunctionSpec, Unresolved> {
    let own = valid(view, Kind::Function, group, None, name)?;
    let is_image = own.is_some_and(|object| object.group() == Group::Stash);
    let found = own.filter(|_| !is_image).or_else(|| catalogue::find(Kind::Function, name));
    match found.map(|object| &object.spec) {
        Some(Spec::Function(spec)) => Ok((**spec).clone()),
        _ if is_image => {
            let message = format!(
                "Function `{name}` of Stash's group runs in an image, and no built-in Function has its name; Lagan runs programs, not images: write a Function of group lagan.dev"
            );
            Err(refused(Code::FunctionNotSupported, message))
        }
        _ => Err(Unresolved::Missing(vec![format!("Function {name}")])),
    }
}

fn unsupported(function: &str, why: &str) -> Unresolved {
    refused(Code::FunctionNotSupported, format!("Function `{function}` {why}"))
}

/// Path in the snapshot that the Function's stream is bound to.
fn path(name: &str, function: &FunctionSpec, direction: Direction) -> Result<String, Unresolved> {
    let stream = function.stream.as_ref();
    let (stdout, stdin) = (stream.and_then(|s| s.stdout.as_deref()), stream.and_then(|s| s.stdin.as_deref()));
    let entry = match (direction, stdout, stdin) {
        (Direction::Backup, Some(entry), None) | (Direction::Restore, None, Some(entry)) => entry,
        (Direction::Backup, None, Some(_)) => {
            return Err(unsupported(name, "has no `stream.stdout`, so there is nothing to back up"));
        }
        (Direction::Restore, Some(_), None) => {
            return Err(unsupported(name, "has no `stream.stdin`, so nothing can be restored into it"));
        }
        _ => return Err(unsupported(name, "binds no stream; set `stream.stdout` or `stream.stdin`")),
    };
    Ok(format!("/{}", entry.trim_start_matches('/')))
}

fn render(name: &str, function: &FunctionSpec, variables: &Variables) -> Result<Step, Unresolved> {
    let fill = |template: &String| {
        substitute(template, variables)
            .map_err(|error| refused(Code::SubstitutionFailed, format!("Function `{name}`: {}", chain(&error))))
    };
    let mut words = function.command.iter().chain(&function.args).map(fill).collect::<Result<Vec<_>, _>>()?;
    if words.is_empty() {
        return Err(unsupported(name, "has no `command`"));
    }
    let program = words.remove(0);
    let extra = function.extra_args.as_ref().map(fill).transpose()?.unwrap_or_default();
    let user_args = extra.split_whitespace().map(str::to_owned).collect();
    Ok(Step { function: name.to_owned(), program, args: words, user_args })
}
