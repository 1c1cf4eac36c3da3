//! Sessions that wait for one thing, ordered fairly between namespaces.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::limited::WaitOrder;

/// Sessions in line.
#[derive(Debug, Default)]
pub(super) struct WaitingLine {
    /// By namespace and the limit that the sessions have for the thing.
    by_namespace: BTreeMap<(String, u32), BTreeSet<WaitOrder>>,
    len: usize,
}

impl WaitingLine {
    pub fn insert(&mut self, namespace: &str, limit: u32, order: WaitOrder) {
        if self.by_namespace.entry((namespace.to_owned(), limit)).or_default().insert(order) {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, namespace: &str, limit: u32, order: &WaitOrder) {
        let key = (namespace.to_owned(), limit);
        let Some(orders) = self.by_namespace.get_mut(&key) else { return };
        if orders.remove(order) {
            self.len -= 1;
        }
        if orders.is_empty() {
            self.by_namespace.remove(&key);
        }
    }

    pub fn sessions(&self) -> impl Iterator<Item = Uuid> {
        self.by_namespace.values().flatten().map(|order| order.session)
    }

    /// All sessions in the order of their turns, if namespaces do not matter.
    pub fn in_order(&self) -> Vec<Uuid> {
        let mut orders: Vec<WaitOrder> = self.by_namespace.values().flatten().copied().collect();
        orders.sort_unstable();
        orders.into_iter().map(|order| order.session).collect()
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The session whose turn it is: one that a person asked for, else one of the namespace that has the least of its share.
    pub fn best(&self, share: impl Fn(&str) -> u64) -> Option<WaitOrder> {
        self.best_of(share, |_| true)
    }

    /// The same, of those for whose limit there is room.
    pub fn best_of(&self, share: impl Fn(&str) -> u64, has_room: impl Fn(u32) -> bool) -> Option<WaitOrder> {
        let heads = self.by_namespace.iter().filter(|((_, limit), _)| has_room(*limit));
        let heads = heads.filter_map(|((namespace, _), orders)| Some((namespace, *orders.first()?)));
        heads.min_by_key(|(namespace, order)| (order.urgency, share(namespace), *order)).map(|(_, order)| order)
    }
}
