//! The chart in a test cluster: its ServiceAccounts and Roles are installed, and engine and worker use exactly these.

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

/// The output of `helm template` for the chart in a namespace.
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
    /// Installs the chart in the world's namespace, with rights in all namespaces.
    pub fn install(world: &KubeWorld) -> Result<Self> {
        Self::install_with(world, &world.namespace, &[])
    }

    /// Installs the chart in its own namespace, with rights in the world's namespace only.
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
        // The harness starts the engine with the same option as the chart.
        let confined = yaml.contains(&format!("- \"--namespaces={}\"\n", world.namespace));
        ensure!(confined == (release != world.namespace), "the engine's namespaces:\n{yaml}");
        // Objects in another namespace than that of the release.
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

    /// Starts engine and worker under their ServiceAccounts. They log everything, so that no refusal is missed.
    pub fn start(&self, world: &mut KubeWorld, worker: &[&str]) -> Result<ReleaseParts<'_>> {
        let mut start = |part: &str, more: &[&str]| {
            let token = world.plane.token(&self.release, &self.account(part))?;
            let file = format!("{}.kubeconfig", self.account(part));
            world.kubeconfig = world.plane.write_kubeconfig(&file, world.plane.port(), &token)?;
            world.part(part, part, &[&["-vv"], more].concat())
        };
        Ok(ReleaseParts {
            chart: self,
            engine: start("engine", &["--stash-compat"])?,
            worker: start("worker", worker)?,
        })
    }
}

/// Engine and worker of a release.
pub(super) struct ReleaseParts<'a> {
    chart: &'a Chart,
    pub engine: Process,
    pub worker: Process,
}

impl ReleaseParts<'_> {
    /// Lists the requests of a part to the API server as `code verb path`.
    pub fn asked(&self, world: &KubeWorld, part: &str) -> Result<Vec<String>> {
        world.plane.requests_of(&self.chart.release, &self.chart.account(part))
    }

    /// Lists the requests that the API server denied a part.
    pub fn refused(&self, world: &KubeWorld, part: &str) -> Result<Vec<String>> {
        let requests = self.asked(world, part)?;
        ensure!(!requests.is_empty(), "the {part} asked the API server for nothing: {}", self.chart.user(part));
        Ok(requests.into_iter().filter(|request| request.starts_with("403 ")).collect())
    }

    /// Fails if the API server denied a request, or if a part logged a denial.
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
