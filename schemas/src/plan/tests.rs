#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

const BACKUP: &str = include_str!("../../fixtures/v1/plans/backup.json");
const RESTORE: &str = include_str!("../../fixtures/v1/plans/restore.json");
const WIPE: &str = include_str!("../../fixtures/v1/plans/wipe.json");

#[test]
fn the_plans_on_record_are_read_and_written_without_a_loss() {
    for (text, kind, host) in [
        (BACKUP, SessionKind::Backup, Some("host-0")),
        (RESTORE, SessionKind::Restore, Some("host-0")),
        (WIPE, SessionKind::Maintenance, None),
    ] {
        let written: Value = serde_json::from_str(text).unwrap();
        let plan: Plan = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((plan.kind(), plan.host(), plan.repositories().count()), (kind, host, 1));
        assert_eq!(plan.target().is_some(), kind != SessionKind::Maintenance);
        assert_eq!(serde_json::to_value(&plan).unwrap(), written);
    }
}

#[test]
fn work_of_a_later_version_and_a_backup_into_nothing_are_no_plans() {
    for change in [
        |plan: &mut Value| plan["work"] = json!({"prune": {}}),
        |plan: &mut Value| plan["work"] = json!({}),
        |plan: &mut Value| plan["work"]["backup"]["repositories"] = json!([]),
        |plan: &mut Value| plan["work"]["backup"]["target"] = Value::Null,
        |plan: &mut Value| plan["work"]["wipe"] = plan["work"]["backup"].clone(),
    ] {
        let mut plan: Value = serde_json::from_str(BACKUP).unwrap();
        change(&mut plan);
        assert!(serde_json::from_value::<Plan>(plan.clone()).is_err(), "{plan}");
    }
}
