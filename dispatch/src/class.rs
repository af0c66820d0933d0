use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adit_protocol::{ByteCount, GpuOffer, NodeOffer, Price, Profile, UnfitReason};

use crate::node::Slot;
use crate::request::Demand;

/// What decides which jobs a node fits. Nodes with equal offers are of one class, so that a job is held against each class and not against
/// each node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) has_slots: bool,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) memory: ByteCount,
    pub(crate) gpu: Option<GpuOffer>,
    price: [u64; 5],
}

/// What a demand is held against first, without a look at the class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    pub(crate) has_slots: bool,
    pub(crate) profiles: Profiles,
    pub(crate) memory: ByteCount,
    pub(crate) price: Price,
}

/// A set of profiles.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profiles(u8);

impl Profiles {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(profiles: &[Profile]) -> Self {
        Self(profiles.iter().fold(0, |set, profile| set | Self::bit(*profile)))
    }

    pub(crate) fn contains(self, profile: Profile) -> bool {
        self.0 & Self::bit(profile) != 0
    }

    fn bit(profile: Profile) -> u8 {
        match profile {
            Profile::Deterministic => 1,
            Profile::Open => 2,
        }
    }
}

impl Class {
    pub(crate) fn of(offer: &NodeOffer) -> Self {
        Self {
            has_slots: offer.slots > 0,
            profiles: offer.profiles.clone(),
            labels: offer.labels.clone(),
            memory: offer.memory,
            gpu: offer.gpu.clone(),
            price: offer.price.components(),
        }
    }

    pub(crate) fn fits(&self, demand: &Demand) -> bool {
        demand.unfit(&self.offered(), || self).is_none()
    }

    pub(crate) fn price(&self) -> Price {
        let [per_compute_minute, per_gib_compute_minute, per_gib_in, per_gib_out, per_gpu_minute] = self.price;
        Price { per_compute_minute, per_gib_compute_minute, per_gib_in, per_gib_out, per_gpu_minute }
    }

    fn offered(&self) -> Offered {
        let Self { has_slots, memory, .. } = *self;
        Offered { has_slots, profiles: Profiles::of(&self.profiles), memory, price: self.price() }
    }
}

/// A class's place in the table, as long as any node is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(u32);

/// The classes of the connected nodes.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    entries: Vec<Option<Entry>>,
    free: Vec<ClassId>,
    in_order: InOrder,
    /// Those that carry a label: a job that demands one is not held against the others.
    by_label: BTreeMap<(String, String), InOrder>,
}

/// Classes by what they are, so that no search depends on which came first.
type InOrder = BTreeMap<Arc<Class>, ClassId>;

#[derive(Debug)]
struct Entry {
    offered: Offered,
    class: Arc<Class>,
    members: Members,
}

/// The nodes of a class.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Connected ones.
    pub(crate) connected: u32,
    /// Of these, the ones whose owner takes no jobs now.
    pub(crate) not_ready: u32,
    /// Of the others, the ones that are not trusted with jobs while another fits.
    pub(crate) barred: u32,
    /// Those with room, least predicted wait first.
    pub(crate) open: BTreeSet<(u64, Slot)>,
    /// Those of the barred with room, least predicted wait first.
    pub(crate) barred_open: BTreeSet<(u64, Slot)>,
}

impl Members {
    /// Nodes that may get jobs, now or when they have room.
    pub(crate) fn usable(&self) -> u32 {
        self.connected - self.not_ready
    }

    /// Of these, the ones that are trusted.
    pub(crate) fn trusted(&self) -> u32 {
        self.usable() - self.barred
    }
}

impl Classes {
    /// Takes in a node by its offer. The class is the same one for equal offers while any node is of it.
    pub(crate) fn join(&mut self, offer: &NodeOffer) -> (ClassId, Arc<Class>) {
        let class = Class::of(offer);
        let id = self.in_order.get(&class).copied().unwrap_or_else(|| self.make(class));
        let entry = self.entry_mut(id);
        entry.members.connected += 1;
        (id, Arc::clone(&entry.class))
    }

    /// Lets a node go, and its class where it was the last one of it.
    pub(crate) fn leave(&mut self, id: ClassId) {
        let entry = self.entry_mut(id);
        entry.members.connected -= 1;
        if entry.members.connected == 0 {
            self.forget(id);
        }
    }

    /// The members of a class that has any.
    pub(crate) fn members_mut(&mut self, id: ClassId) -> &mut Members {
        &mut self.entry_mut(id).members
    }

    fn make(&mut self, class: Class) -> ClassId {
        let class = Arc::new(class);
        let id = self.free.pop().unwrap_or(ClassId(self.entries.len() as u32));
        if id.0 as usize == self.entries.len() {
            self.entries.push(None);
        }
        for label in &class.labels {
            self.by_label.entry(label.clone()).or_default().insert(Arc::clone(&class), id);
        }
        self.in_order.insert(Arc::clone(&class), id);
        self.entries[id.0 as usize] = Some(Entry { offered: class.offered(), class, members: Members::default() });
        id
    }

    fn forget(&mut self, id: ClassId) {
        let Entry { class, members, .. } = self.entries[id.0 as usize].take().expect("a class is forgotten once");
        debug_assert!(members.open.is_empty() && members.barred_open.is_empty(), "an open node is connected");
        self.in_order.remove(&class);
        for label in &class.labels {
            let Some(carrying) = self.by_label.get_mut(label) else { continue };
            carrying.remove(&class);
            if carrying.is_empty() {
                self.by_label.remove(label);
            }
        }
        self.free.push(id);
    }

    fn entry(&self, id: ClassId) -> &Entry {
        self.entries[id.0 as usize].as_ref().expect("a class has its place while a node is of it")
    }

    fn entry_mut(&mut self, id: ClassId) -> &mut Entry {
        self.entries[id.0 as usize].as_mut().expect("a class has its place while a node is of it")
    }

    /// The classes that fit a demand, with their members, in their order.
    pub(crate) fn fitting(&self, demand: &Demand) -> impl Iterator<Item = (&Class, &Members)> {
        let entries = self.carrying(demand.labels()).into_iter().flatten().map(|(_, id)| self.entry(*id));
        let fitting = entries.filter(|entry| demand.unfit(&entry.offered, || &entry.class).is_none());
        fitting.map(|entry| (&*entry.class, &entry.members))
    }

    /// How many classes are held against a demand.
    pub(crate) fn count_carrying(&self, demand: &Demand) -> usize {
        self.carrying(demand.labels()).map_or(0, BTreeMap::len)
    }

    /// The fewest classes among which those are that carry all these labels; none where nobody carries one of them.
    fn carrying(&self, labels: &[(String, String)]) -> Option<&InOrder> {
        labels.iter().try_fold(&self.in_order, |least, label| {
            let carrying = self.by_label.get(label)?;
            Some(if carrying.len() < least.len() { carrying } else { least })
        })
    }

    /// The barred nodes with room, of all classes.
    pub(crate) fn barred_open(&self) -> impl Iterator<Item = Slot> {
        self.in_order.values().flat_map(|id| self.entry(*id).members.barred_open.iter().map(|(_, slot)| *slot))
    }

    /// How many nodes are ruled out for a demand, under the first thing that rules each out.
    pub(crate) fn unfit(&self, demand: &Demand) -> BTreeMap<UnfitReason, u32> {
        let mut counts = BTreeMap::new();
        let mut add = |reason, n| {
            if n > 0 {
                *counts.entry(reason).or_insert(0) += n;
            }
        };
        for Entry { offered, class, members } in self.entries.iter().flatten() {
            match demand.unfit(offered, || class) {
                Some(reason) => add(reason, members.connected),
                None => add(UnfitReason::NotReady, members.not_ready),
            }
        }
        counts
    }
}
