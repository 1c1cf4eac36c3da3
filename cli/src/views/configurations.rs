//! Rows of BackupConfigurations.

use lagan_schemas::resource::ConditionStatus;
use lagan_schemas::resource::backup_configuration::BackupConfigurationStatus;

use super::{Cells, Columns, TableStyle};
use crate::glyph::Glyph;
use crate::human::one_line;
use crate::objects::ObjectDocument;

pub(super) const COLUMNS: Columns = Columns {
    narrow: &["TARGET", "REPOSITORY", "SCHEDULE", "PAUSED", "PHASE", "LAST SUCCESS", "NEXT"],
    wide: &["TASK", "TIME ZONE", "LAST SESSION", "LAST PHASE", "GROUP"],
    cells,
};

const NOTE_LIMIT: usize = 100;

fn cells(style: &TableStyle, view: &ObjectDocument) -> Cells {
    let status: BackupConfigurationStatus = view.part("status");
    let is_paused = view.value.pointer("/spec/paused").and_then(serde_json::Value::as_bool) == Some(true);
    let paused = if is_paused { format!("{} yes", style.glyphs.of(Glyph::Skipped)) } else { "no".to_owned() };
    let next = if is_paused { String::new() } else { style.relative(status.next_slot_time) };
    let last = status.last_session.as_ref();
    let is_wrong = |status: ConditionStatus| status == ConditionStatus::False;
    let wrong = status.conditions.iter().find(|c| is_wrong(c.status) && matches!(view.phase(), "NotReady" | "Invalid"));
    Cells {
        narrow: vec![
            view.text("/spec/target/ref/name").to_owned(),
            view.text("/spec/repository/name").to_owned(),
            view.text("/spec/schedule").to_owned(),
            paused,
            style.glyphs.phase(view.phase()),
            style.relative(status.last_success_time),
            next,
        ],
        wide: vec![
            view.text("/spec/task/name").to_owned(),
            match view.text("/spec/timeZone") {
                "" => "UTC".to_owned(),
                zone => zone.to_owned(),
            },
            last.map(|last| last.name.clone()).unwrap_or_default(),
            last.map(|last| style.glyphs.phase(&last.phase)).unwrap_or_default(),
            view.key.group.clone(),
        ],
        note: wrong.map(|condition| one_line(&condition.message, NOTE_LIMIT)).unwrap_or_default(),
    }
}
