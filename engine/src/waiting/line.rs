//! Sessions that wait for one thing, ordered fairly between namespaces.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::limited::WaitOrder;

/// Sessions in line, by namespace.
#[derive(Debug, Default)]
pub(super) struct WaitingLine {
    by_namespace: BTreeMap<String, BTreeSet<WaitOrder>>,
    len: usize,
}

impl WaitingLine {
    pub fn insert(&mut self, namespace: &str, order: WaitOrder) {
        if self.by_namespace.entry(namespace.to_owned()).or_default().insert(order) {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, namespace: &str, order: &WaitOrder) {
        let Some(orders) = self.by_namespace.get_mut(namespace) else { return };
        if orders.remove(order) {
            self.len -= 1;
        }
        if orders.is_empty() {
            self.by_namespace.remove(namespace);
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
        let heads = self.by_namespace.iter().filter_map(|(namespace, orders)| Some((namespace, *orders.first()?)));
        heads.min_by_key(|(namespace, order)| (order.urgency, share(namespace), *order)).map(|(_, order)| order)
    }
}
