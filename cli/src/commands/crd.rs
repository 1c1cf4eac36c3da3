//! `lagan crd`: prints the CustomResourceDefinitions, to pipe into `kubectl apply --server-side -f -`.

use lagan_schemas::generate::{self, crds};

use crate::args::{CrdArgs, CrdGroup};
use crate::error::{Exit, Problem};
use crate::output::{data, yaml};

pub fn run(args: &CrdArgs) -> Result<Exit, Problem> {
    let group = match args.group {
        CrdGroup::Lagan => generate::CrdGroup::Lagan,
        CrdGroup::Stash => generate::CrdGroup::Stash,
        CrdGroup::Appcatalog => generate::CrdGroup::AppCatalog,
    };
    let documents: Vec<String> = crds(group).iter().map(yaml).collect();
    data(&documents.join("---\n"))?;
    Ok(Exit::Ok)
}
