//! `lagan crd`: prints the CustomResourceDefinitions, to pipe into `kubectl apply --server-side -f -`.

use lagan_schemas::generate::{self, crds};

use crate::args::{CrdArgs, CrdGroupArg};
use crate::error::{Exit, Problem};
use crate::output::{data, yaml};

pub fn run(args: &CrdArgs) -> Result<Exit, Problem> {
    let group = match args.group {
        CrdGroupArg::Lagan => generate::CrdGroup::Lagan,
        CrdGroupArg::Stash => generate::CrdGroup::Stash,
        CrdGroupArg::Appcatalog => generate::CrdGroup::AppCatalog,
    };
    let documents: Vec<String> = crds(group).iter().map(yaml).collect();
    data(&documents.join("---\n"))?;
    Ok(Exit::Ok)
}
