//! Objects that are not reported yet, and restores that wait for a person.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lagan_schemas::resource::ObjectRef;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

/// Objects that are looked at one after the other, with the same answers of the source.
const BATCH: usize = 256;

#[derive(Default)]
pub(super) struct Backlog(Mutex<Objects>);

#[derive(Default)]
struct Objects {
    changed: BTreeSet<ObjectKey>,
    /// All objects at the time of a takeover. Those that change come first.
    all: BTreeSet<ObjectKey>,
    /// Objects to look at again after a pause: configurations that miss a Secret or that the source does not answer
    /// for, and deleted Repositories that are still there.
    waiting: BTreeSet<ObjectKey>,
    /// Restores that wait for a person (P5), until their objects are gone. It outlives the lease.
    unconfirmed: HashMap<ObjectKey, Uuid>,
}

impl Backlog {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything that the next reporter looks at anyway.
    pub fn clear(&self) {
        let mut objects = self.objects();
        (objects.changed, objects.all, objects.waiting) = Default::default();
    }

    pub fn add(&self, key: ObjectKey) {
        self.objects().changed.insert(key);
    }

    pub fn add_all(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        self.objects().all.extend(keys);
    }

    pub fn look_again(&self, key: &ObjectKey) {
        self.objects().waiting.insert(key.clone());
    }

    pub fn add_unconfirmed(&self, restore: &ObjectRef) {
        let Some(uid) = restore.uid else { return };
        let mut objects = self.objects();
        objects.unconfirmed.insert(restore.key(), uid);
        objects.changed.insert(restore.key());
    }

    pub fn is_unconfirmed(&self, key: &ObjectKey, uid: Uuid) -> bool {
        self.objects().unconfirmed.get(key) == Some(&uid)
    }

    /// Notes that an object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.objects().unconfirmed.remove(key);
    }

    pub fn retry(&self) {
        let mut objects = self.objects();
        let waiting = std::mem::take(&mut objects.waiting);
        objects.changed.extend(waiting);
    }

    /// The next changed objects to look at; empty if there are none.
    pub fn next_changed(&self) -> BTreeSet<ObjectKey> {
        batch(&mut self.objects().changed)
    }

    /// The next of all objects to look at; empty if there are none.
    pub fn next_of_all(&self) -> BTreeSet<ObjectKey> {
        batch(&mut self.objects().all)
    }
}

fn batch(keys: &mut BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
    std::iter::from_fn(|| keys.pop_first()).take(BATCH).collect()
}
