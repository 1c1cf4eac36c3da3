//! The scheduler of a simulated engine: the real slots and the real answers to objects that ask for a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::scheduler::objects::{ObjectAnswer, SessionAsking, answer, asks};
use crate::scheduler::slots::{SlotLook, SlotOutcome, request_slot};
use crate::simulation::engine::{CONCURRENCY, SimEngine, TaskResult};
use crate::view::ReadProgress;

impl SimEngine {
    pub fn has_unread_objects(&self) -> bool {
        self.objects_read < self.outside.world().objects.len()
    }

    /// Reads the next message of RESOURCES.
    pub fn read_object(&mut self) {
        let (object, position, is_last) = {
            let world = self.outside.world();
            let position = world.object_position(self.objects_read + 1);
            (Arc::clone(&world.objects[self.objects_read]), position, self.objects_read + 1 == world.objects.len())
        };
        self.objects_read += 1;
        self.are_objects_complete |= is_last;
        let progress = ReadProgress { position: Some(position), complete: self.are_objects_complete };
        let key = object.key();
        let insert = |view: &mut crate::view::View| drop(view.objects.insert(key.clone(), object));
        self.outside.resources.simulate(insert, progress);
        if self.desk.room.lacks_objects() {
            let now = self.now();
            self.desk.room.objects_changed(now);
        }
        let time = crate::outside::Outside::now(&*self.outside);
        self.book.arm(&*self.outside, &BTreeSet::from([key.clone()]), time).unwrap();
        self.unanswered.insert(key);
        self.schedule();
    }

    /// Requests what is due, and decides about objects.
    pub fn schedule(&mut self) {
        if !self.is_complete || !self.are_objects_complete {
            return;
        }
        let now = crate::outside::Outside::now(&*self.outside);
        self.book.notice_time(&*self.outside, now).unwrap();
        while self.book.has_due(now) && self.tasks.len() < CONCURRENCY {
            match self.book.take_due(&*self.outside, now).unwrap() {
                SlotLook::None => {}
                SlotLook::Passed(slot) => {
                    self.book.settle(&*self.outside, vec![(slot, SlotOutcome::Requested)]).unwrap();
                }
                SlotLook::Asks(slot, object, position) => {
                    let outside = Arc::clone(&self.outside);
                    self.spawn(None, async move {
                        let (slot, outcome) = request_slot(&*outside, slot, &object, position).await;
                        TaskResult::Slot(slot, outcome)
                    });
                }
            }
        }
        for key in std::mem::take(&mut self.unanswered) {
            let (object, position) = {
                let view = self.outside.resources.read();
                (view.objects.get(&key).cloned(), view.position)
            };
            let (Some(object), Some(position)) = (object, position) else { continue };
            let Some(asking) = asks(&*self.outside, &object) else { continue };
            if self.seen.get(&key) == Some(&asking.uid) {
                continue;
            }
            let outside = Arc::clone(&self.outside);
            self.spawn(None, async move {
                let answer = answer(&*outside, &object, position, now).await;
                TaskResult::Answer(asking, answer)
            });
        }
    }

    pub(super) fn answered(&mut self, asking: SessionAsking, answer: ObjectAnswer) {
        let key = asking.object.key();
        match answer {
            ObjectAnswer::Later => drop(self.unanswered.insert(key)),
            ObjectAnswer::Decided | ObjectAnswer::Unconfirmed => drop(self.seen.insert(key, asking.uid)),
        }
    }
}
