//! Whether scheduled backups fit, for people: the objects of a cluster as input of `schemas::forecast`, and its result as
//! text. It must not read or print.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use lagan_engine::Limits;
use lagan_schemas::forecast::{ForecastLimits, SharedThing, shared_things};
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::ObjectKey;

use crate::glyph::{Glyph, Glyphs};
use crate::objects::ObjectDocument;

/// Computes a forecast for each thing that scheduled backups share, with the limits that an engine has by default.
#[must_use]
pub fn forecasts(views: &[ObjectDocument], now: Timestamp) -> Vec<SharedThing> {
    let kinds = [Kind::BackupConfiguration, Kind::AppBinding, Kind::Repository];
    let of_kinds = views.iter().filter(|view| kinds.contains(&view.key.kind));
    let objects: Vec<Object> = of_kinds.filter_map(|view| Object::from_json(view.value.clone()).ok()).collect();
    let Limits { server, repository, .. } = Limits::default();
    shared_things(objects.iter(), &durations(views), ForecastLimits { server, repository }, now)
}

/// The time that the newest successful session of each configuration took.
fn durations(views: &[ObjectDocument]) -> HashMap<ObjectKey, Duration> {
    let mut newest: HashMap<ObjectKey, (Timestamp, Duration)> = HashMap::new();
    for view in views.iter().filter(|view| view.key.kind == Kind::BackupSession && view.phase() == "Succeeded") {
        let Some((start, end)) = view.time("/status/startTime").zip(view.time("/status/completionTime")) else {
            continue;
        };
        let name = view.text("/spec/invoker/name").to_owned();
        let configuration = ObjectKey { kind: Kind::BackupConfiguration, name, ..view.key.clone() };
        if newest.get(&configuration).is_none_or(|(known, _)| *known < end) {
            newest.insert(configuration, (end, end.duration_since(start).unsigned_abs()));
        }
    }
    newest.into_iter().map(|(configuration, (_, took))| (configuration, took)).collect()
}

/// The forecasts as text: those that do not fit first, and of the others only those for which somebody waits.
#[must_use]
pub fn text(things: &[SharedThing], glyphs: Glyphs) -> String {
    let mut text = String::new();
    let (fit, unfit): (Vec<_>, Vec<_>) = things.iter().partition(|thing| thing.fits);
    for thing in unfit.into_iter().chain(fit) {
        let Some(forecast) = &thing.forecast else { continue };
        let state = if thing.fits { Glyph::Waiting } else { Glyph::Warning };
        let _ = writeln!(text, "{} {} {}: {forecast}", glyphs.of(state), thing.kind, thing.name);
    }
    if text.is_empty() {
        let _ = writeln!(text, "{} no scheduled backup has to wait for another", glyphs.of(Glyph::Succeeded));
    }
    let unmeasured = things.iter().map(|thing| thing.unmeasured).max().unwrap_or(0);
    if unmeasured > 0 {
        let _ = writeln!(
            text,
            "  not counted are configurations without a successful session: up to {unmeasured} of one thing"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::objects::tests::view;

    fn world() -> Vec<ObjectDocument> {
        let metadata = |name: &str| json!({"name": name, "namespace": "prod"});
        let mut views = Vec::new();
        for name in ["a", "b", "c"] {
            views.push(view(json!({
                "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration", "metadata": metadata(name),
                "spec": {
                    "schedule": "0 2 * * *", "repository": {"name": "main"}, "timeOut": "10m",
                    "retentionPolicy": {"name": "keep", "keepLast": 1},
                    "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}},
                },
            })));
        }
        for (configuration, start, end) in [("a", "10:00", "10:01"), ("a", "11:00", "11:08"), ("b", "11:00", "11:08")] {
            views.push(view(json!({
                "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession", "metadata": metadata(&format!("{configuration}-{start}")),
                "spec": {"invoker": {"kind": "BackupConfiguration", "name": configuration}},
                "status": {"phase": "Succeeded", "startTime": format!("2026-11-26T{start}:00Z"), "completionTime": format!("2026-11-26T{end}:00Z")},
            })));
        }
        views
    }

    #[test]
    fn a_forecast_goes_by_the_newest_session_and_tells_what_it_does_not_count() {
        let things = forecasts(&world(), "2026-11-26T12:00:00Z".parse().unwrap());
        assert_eq!(
            text(&things, Glyphs::Unicode),
            "\u{203c} AppBinding prod/db: 2 sessions are due from 2026-11-27 02:00Z, each takes 8 min, at most 1 at a time: the \
             last one begins at 2026-11-27 02:08Z; `timeOut` ends 1 of them: prod/b\n  not counted are configurations without a \
             successful session: up to 1 of one thing\n"
        );
        assert!(text(&[], Glyphs::Ascii).contains("no scheduled backup has to wait for another"));
    }
}
