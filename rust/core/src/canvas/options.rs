//! A signature's options: names to settings, in the order they were set.

use std::borrow::Cow;

use super::tree::NodeId;

/// Name of an option.
pub type Key = Cow<'static, str>;

/// A value of the caller's, which comes back as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Given(pub u32);

/// A task's or group's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// The caller's own.
    Given(Given),
    /// The id of the canvas as a whole: the member's id.
    Whole,
    /// The id of the n-th thing inside it that needed one.
    Inner(u32),
}

/// An entry of a list option: a callback, or a step of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// As the caller gave it. Equal values must be given under one number.
    Given(Given),
    /// A copy of it that ignores the arguments of a call.
    Immutable(Given),
    /// A part of this canvas.
    Canvas(NodeId),
}

impl Item {
    pub(super) const fn immutable(self) -> Self {
        match self {
            Self::Given(given) => Self::Immutable(given),
            Self::Immutable(_) | Self::Canvas(_) => self,
        }
    }
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The caller's value.
    Given(Given),
    /// Python's `None`.
    Null,
    /// Python's `False`.
    No,
    /// An id.
    Id(Id),
    /// A position in a group.
    Index(u32),
    /// The reply queue of this dispatch.
    ReplyTo,
    /// A part of this canvas: the body of a chord.
    Canvas(NodeId),
    /// `link`, `link_error` or `chain`.
    List(Vec<Item>),
    /// `stamped_headers`: the value, and the names in it, which no call overrides.
    Stamps(Given, Vec<Key>),
}

/// Options that a call cannot override once they are set.
const FIXED: [&str; 2] = ["group_id", "stamped_headers"];

/// Options by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(Key, Setting)>);

impl Options {
    /// No options.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The setting of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, setting)| setting)
    }

    /// The setting of `key`, unless there is none or it is null.
    #[must_use]
    pub fn some(&self, key: &str) -> Option<&Setting> {
        self.get(key).filter(|setting| **setting != Setting::Null)
    }

    /// Whether `key` is set, if only to null.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets `key`.
    pub fn set(&mut self, key: impl Into<Key>, setting: Setting) {
        let key = key.into();
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, present)) => *present = setting,
            None => self.0.push((key, setting)),
        }
    }

    /// Sets `key` unless it is set.
    pub fn set_default(&mut self, key: &'static str, setting: Setting) {
        if !self.has(key) {
            self.set(key, setting);
        }
    }

    /// Takes `key` out.
    pub fn take(&mut self, key: &str) -> Option<Setting> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// The entries, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Setting)> {
        self.0.iter().map(|(key, setting)| (key, setting))
    }

    /// Lays `other` over these. If `other` has stamps, the stamps of these are gone.
    pub fn update(&mut self, other: &Self) {
        if other.has("stamped_headers") {
            let stamps = self.stamps().to_vec();
            self.0.retain(|(key, _)| !stamps.contains(key));
        }
        for (key, setting) in other.iter() {
            self.set(key.clone(), setting.clone());
        }
    }

    /// These, with the options of a call laid over them; options that must not change stay.
    ///
    /// If these have stamps, the call's stamps are left out, since nothing would name them: Celery
    /// sends them as properties of the message, and nobody reads those.
    #[must_use]
    pub fn merged(&self, call: &Self) -> Self {
        let mut merged = self.clone();
        let unnamed = if self.has("stamped_headers") {
            call.stamps()
        } else {
            &[]
        };
        for (key, setting) in call.iter() {
            let is_kept = self.is_fixed(key) && self.has(key);
            if !is_kept && !unnamed.contains(key) {
                merged.set(key.clone(), setting.clone());
            }
        }
        merged
    }

    /// The names in `stamped_headers`.
    fn stamps(&self) -> &[Key] {
        match self.get("stamped_headers") {
            Some(Setting::Stamps(_, names)) => names,
            _ => &[],
        }
    }

    fn is_fixed(&self, key: &str) -> bool {
        FIXED.contains(&key) || self.stamps().iter().any(|name| name == key)
    }

    /// Without the null options.
    #[must_use]
    pub fn without_null(&self) -> Self {
        let some = self.0.iter().filter(|entry| entry.1 != Setting::Null);
        Self(some.cloned().collect())
    }

    /// Without the options `keys`.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let others = self
            .0
            .iter()
            .filter(|(key, _)| !keys.contains(&key.as_ref()));
        Self(others.cloned().collect())
    }

    /// The entries of list option `key`; one value counts as a list of it.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<Item> {
        match self.get(key) {
            Some(Setting::List(items)) => items.clone(),
            Some(Setting::Given(value)) => vec![Item::Given(*value)],
            Some(Setting::Canvas(node)) => vec![Item::Canvas(*node)],
            _ => Vec::new(),
        }
    }

    /// Appends to list option `key` the items that it does not have.
    pub fn append(&mut self, key: &'static str, item: Item) {
        let mut items = self.list(key);
        if !items.contains(&item) {
            items.push(item);
        }
        self.set(key, Setting::List(items));
    }

    /// Appends to list option `key`, also items that it has.
    pub fn extend(&mut self, key: &'static str, more: &[Item]) {
        let mut items = self.list(key);
        items.extend_from_slice(more);
        self.set(key, Setting::List(items));
    }
}

impl FromIterator<(Key, Setting)> for Options {
    fn from_iter<T: IntoIterator<Item = (Key, Setting)>>(entries: T) -> Self {
        let mut options = Self::new();
        for (key, setting) in entries {
            options.set(key, setting);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(entries: &[(&'static str, u32)]) -> Options {
        let entry = |&(key, value)| (Key::Borrowed(key), Setting::Given(Given(value)));
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_call_overrides_all_but_the_group_and_stamps() {
        let mut own = given(&[("queue", 1), ("group_id", 2), ("tenant", 3)]);
        own.set(
            "stamped_headers",
            Setting::Stamps(Given(4), vec!["tenant".into()]),
        );
        let call = given(&[
            ("queue", 11),
            ("group_id", 12),
            ("tenant", 13),
            ("priority", 14),
        ]);
        let merged = own.merged(&call);
        let value = |key| match merged.get(key) {
            Some(Setting::Given(Given(value))) => *value,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!([value("queue"), value("group_id")], [11, 2]);
        assert_eq!([value("tenant"), value("priority")], [3, 14]);
    }

    #[test]
    fn one_side_alone_stamps() {
        let stamped = |name: &'static str, value| {
            let mut options = given(&[(name, value)]);
            let names = vec![name.into()];
            options.set("stamped_headers", Setting::Stamps(Given(value + 1), names));
            options
        };
        let (own, call) = (stamped("tenant", 1), stamped("region", 11));
        assert_eq!(own.merged(&call), own);
        let mut over = own.clone();
        over.update(&call);
        assert!(!over.has("tenant") && over.has("region"), "{over:?}");
        let plain = given(&[("queue", 5)]);
        assert!(plain.merged(&call).has("region"));
    }

    #[test]
    fn a_callback_is_linked_once_by_append_and_twice_by_extend() {
        let item = Item::Given(Given(7));
        let mut options = given(&[("link", 7)]);
        options.append("link", item);
        assert_eq!(
            options.list("link"),
            [item],
            "a lone value counts as a list"
        );
        options.extend("link", &[item]);
        assert_eq!(options.list("link"), [item, item]);
    }
}
