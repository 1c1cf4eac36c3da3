//! What is known of a dump before it starts, found out while the repository opens, and what of it people are told.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Instant;

use lagan_schemas::error::Failure;
use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::plan::BackupWork;

use crate::failures::{of_arguments, of_preflight};
use crate::mariadb::{Condition, DumpArgs, Finding, Prepared, prepare};
use crate::session::life::Life;
use crate::target::Target;
use crate::worker::Worker;

/// A dump that may start, and when the database said so.
pub(super) struct Ready<'t> {
    pub resolved: Target<'t>,
    pub prepared: Prepared,
    pub asked: Instant,
}

pub(super) async fn preflight<'t>(worker: &Worker, life: &Life, work: &'t BackupWork) -> Result<Ready<'t>, Failure> {
    let resolved = Target::resolve(worker, &work.target.database, &work.step, &life.token()).await?;
    let args = DumpArgs::parse(&resolved.arguments());
    let args = args.map_err(|error| of_arguments(&resolved.step.function, &error))?;
    let prepared = prepare(&resolved.client, args, resolved.wait).await.map_err(|error| of_preflight(&error))?;
    Ok(Ready { resolved, prepared, asked: Instant::now() })
}

/// Runs `work` to its end, and `other` meanwhile.
pub(super) async fn beside<T>(work: impl Future<Output = T>, mut other: Pin<&mut impl Future<Output = ()>>) -> T {
    let mut work = pin!(work);
    let mut other_ended = false;
    poll_fn(|cx| {
        other_ended = other_ended || other.as_mut().poll(cx).is_ready();
        work.as_mut().poll(cx)
    })
    .await
}

pub(super) fn notices(findings: &[Finding]) -> Vec<Notice> {
    findings.iter().map(notice).collect()
}

fn notice(finding: &Finding) -> Notice {
    let Condition { kind, reason, message } = finding.condition();
    Notice { kind: kind.to_owned(), status: NoticeStatus::True, reason: reason.to_owned(), message }
}
