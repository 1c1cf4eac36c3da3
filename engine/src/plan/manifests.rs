//! Names the files that can't be read any more and that hold an invoker or an object that it names, for the condition
//! `ManifestRead`. It must not refuse anything: the last version that could be read stays in force.

use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::resource::Object;

use super::ignored::named_by;
use crate::view::{UNREADABLE_MANIFEST, View};

/// Type of the condition, which exists only while a file can't be read.
pub(crate) const MANIFEST_READ: &str = "ManifestRead";
/// Reason of the condition.
pub(crate) const REASON: &str = "FileUnreadable";

/// The message about the file of one object; `None` if it can be read.
pub(crate) fn of_object(object: &Object) -> Option<String> {
    let file = object.metadata.annotations.get(UNREADABLE_MANIFEST)?;
    Some(format!("`{file}` can't be read; the last version that could be read is used until it is corrected"))
}

/// The message about the files of an invoker and of the objects that it names.
pub(crate) fn of_invoker(view: &View, invoker: &Object) -> Option<String> {
    let named = named_by(view, invoker).into_iter().filter_map(|object| {
        let message = of_object(object)?;
        Some(format!("{} {}: {message}", object.kind(), object.reference().path()))
    });
    let messages: Vec<String> = of_object(invoker).into_iter().chain(named).collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}

/// The condition on a session, for invokers whose status is that of a session.
pub(super) fn notice(view: &View, invoker: &Object) -> Option<Notice> {
    let message = of_invoker(view, invoker)?;
    let (kind, reason) = (MANIFEST_READ.to_owned(), REASON.to_owned());
    Some(Notice { kind, status: NoticeStatus::False, reason, message })
}
