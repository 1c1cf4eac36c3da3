//! The chart in a world: its accounts and Roles are installed, and engine and worker run under exactly these.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::Scratch;
use lagan_tests::kube_world::KubeWorld;
use lagan_tests::process::{Process, guarded, run};
use lagan_tests::tools;
use lagan_tests::world::PATIENCE;

pub(super) fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?.to_owned())
}

/// What `helm template` makes of the chart in namespace `namespace`.
pub(super) fn rendered(values: &Path, namespace: &str, more: &[&str]) -> Result<String> {
    let mut command: Command = guarded(&tools::cached("helm-", "helm")?);
    command.args(["template", "lagan"]).arg(root()?.join("deploy/helm/lagan")).args(["--namespace", namespace]);
    command.arg("--values").arg(values).args(more);
    let done = run(command, PATIENCE)?.success().with_context(|| format!("rendering {}", values.display()))?;
    Ok(done.text())
}

pub(super) fn tempfile(text: &str) -> Result<(Scratch, String)> {
    let scratch = Scratch::new("rendered")?;
    let path = scratch.private_file("rendered.yaml", text)?;
    Ok((scratch, path.to_string_lossy().into_owned()))
}

/// A release for the objects of a world.
pub(super) struct Chart {
    /// Namespace of the release, where the accounts are.
    release: String,
    /// Prefix of the names of its objects.
    name: String,
}

impl Chart {
    /// In the world's own namespace, with rights in all namespaces.
    pub fn install(world: &KubeWorld) -> Result<Self> {
        Self::install_with(world, &world.namespace, &[])
    }

    /// In a namespace of its own, with rights in the world's namespace only.
    pub fn install_watching(world: &KubeWorld) -> Result<Self> {
        let watched = format!("watchNamespaces={{{}}}", world.namespace);
        Self::install_with(world, &world.plane.namespace("release")?, &["--set", &watched])
    }

    fn install_with(world: &KubeWorld, release: &str, more: &[&str]) -> Result<Self> {
        let values = root()?.join("deploy/helm/lagan/ci/default.yaml");
        let name = format!("fullnameOverride={}", world.namespace);
        let mut sets = vec!["--set", &name, "--set", "crds.install=false", "--set", "crds.appBinding=false"];
        sets.extend(["--set", "stashCompat=true"]);
        sets.extend(more);
        let yaml = rendered(&values, release, &sets)?;
        // What the harness starts the engine with is what the chart starts it with.
        let confined = yaml.contains(&format!("- \"--namespaces={}\"\n", world.namespace));
        ensure!(confined == (release != world.namespace), "the engine's namespaces:\n{yaml}");
        // Objects that name another namespace than that of the release.
        let elsewhere = format!("\n  namespace: {}\n", world.namespace);
        let (watched, own): (Vec<&str>, Vec<&str>) =
            yaml.split("\n---\n").partition(|document| document.contains(&elsewhere));
        world.plane.apply(release, &own.join("\n---\n"))?;
        if !watched.is_empty() {
            world.apply(&watched.join("\n---\n"))?;
        }
        Ok(Self { release: release.to_owned(), name: world.namespace.clone() })
    }

    fn account(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    pub fn user(&self, part: &str) -> String {
        format!("system:serviceaccount:{}:{}", self.release, self.account(part))
    }

    /// Engine and worker under their accounts; they log everything, since what is not important is not told otherwise.
    pub fn start(&self, world: &mut KubeWorld, worker: &[&str]) -> Result<Parts<'_>> {
        let mut start = |part: &str, more: &[&str]| {
            let token = world.plane.token(&self.release, &self.account(part))?;
            let file = format!("{}.kubeconfig", self.account(part));
            world.kubeconfig = world.plane.write_kubeconfig(&file, world.plane.port(), &token)?;
            world.part(part, part, &[&["-vv"], more].concat())
        };
        Ok(Parts { chart: self, engine: start("engine", &["--stash-compat"])?, worker: start("worker", worker)? })
    }
}

/// Engine and worker of a release.
pub(super) struct Parts<'a> {
    chart: &'a Chart,
    pub engine: Process,
    pub worker: Process,
}

impl Parts<'_> {
    /// What a part has asked the API server for, each as `code verb path`.
    pub fn asked(&self, world: &KubeWorld, part: &str) -> Result<Vec<String>> {
        world.plane.requests_of(&self.chart.release, &self.chart.account(part))
    }

    /// What the API server refused a part for want of rights.
    pub fn refused(&self, world: &KubeWorld, part: &str) -> Result<Vec<String>> {
        let requests = self.asked(world, part)?;
        ensure!(!requests.is_empty(), "the {part} asked the API server for nothing: {}", self.chart.user(part));
        Ok(requests.into_iter().filter(|request| request.starts_with("403 ")).collect())
    }

    /// Neither in the API server's words nor in those of the parts.
    pub fn were_refused_nothing(&self, world: &KubeWorld) -> Result<()> {
        for (part, process) in [("engine", &self.engine), ("worker", &self.worker)] {
            let refused = self.refused(world, part)?;
            ensure!(refused.is_empty(), "the {part} was refused {refused:#?}");
            let log = process.log_text();
            let told: Vec<&str> = log.lines().filter(|line| line.to_ascii_lowercase().contains("forbidden")).collect();
            ensure!(told.is_empty(), "the {part} tells of {told:#?}");
        }
        Ok(())
    }
}
