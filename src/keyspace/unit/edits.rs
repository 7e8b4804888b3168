//! Changes of a value in its place.

use super::super::entry::{EntryRef, Meta};
use super::super::shard::{CollectionEdit, Edited, NewValue};
use super::super::sizes::SizeClass;
use super::super::value::{Collection, Str, StrRef, Value, ValueKind, ValueRef};
use super::Unit;
use super::types::{Expiry, Missing, NotifyClass, WrongType};

impl Unit<'_> {
    /// Edits the collection at a key. `change` returns its result and how many changes it made;
    /// zero means that nothing changed. A collection that ends up empty is removed, which the
    /// second part of the result says.
    ///
    /// # Errors
    /// [`WrongType`] if the key holds another type; `change` is not called then.
    pub fn update<T: Collection, R>(
        &mut self,
        db: usize,
        key: &[u8],
        missing: Missing,
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> Result<Option<(R, bool)>, WrongType> {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            return Ok(match missing {
                Missing::Skip => None,
                Missing::Create => Some((self.create(db, hash, key, change), false)),
            });
        };
        let options = &self.options;
        let Some(shard) = self.locked.shard_for(hash) else {
            return Ok(None);
        };
        let touched = |old| options.touched(old);
        match shard.edit_collection(db, pos, key, touched, change) {
            CollectionEdit::Gone => Ok(None),
            CollectionEdit::OtherType => Err(WrongType),
            CollectionEdit::Done {
                result,
                changes,
                empty,
            } => {
                self.counters.dirty += changes;
                if empty {
                    shard.remove(db, pos);
                }
                Ok(Some((result, empty)))
            }
        }
    }

    /// Makes a collection at a key where there is none, unless it stays empty.
    fn create<T: Collection, R>(
        &mut self,
        db: usize,
        hash: u64,
        key: &[u8],
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> R {
        let mut fresh = T::default();
        let (result, changes) = change(&mut fresh);
        if fresh.is_empty() {
            return result;
        }
        self.remove_hidden(db, hash, key);
        let meta = Meta {
            access: self.options.access,
            ..Meta::default()
        };
        if let Some(shard) = self.locked.shard_for(hash) {
            shard.insert(db, hash, key, NewValue::Value(fresh.into()), meta);
        }
        self.notify(NotifyClass::NEW, "new", db, key);
        self.counters.dirty += changes;
        result
    }

    /// Edits the string at a key in place, as bytes; a missing key begins empty and is made only
    /// if it is not empty afterwards. `change` returns its result and whether it changed anything.
    ///
    /// # Errors
    /// [`WrongType`] if the key holds another type; `change` is not called then.
    pub fn edit_string<R>(
        &mut self,
        db: usize,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> (R, bool),
    ) -> Result<R, WrongType> {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            let mut bytes = Vec::new();
            let (result, changed) = change(&mut bytes);
            if changed && !bytes.is_empty() {
                self.set_value(db, key, Value::Str(Str::Heap(bytes.into())), Expiry::Clear);
            }
            return Ok(result);
        };
        let options = &self.options;
        let Some(shard) = self.locked.shard_for(hash) else {
            return Err(WrongType);
        };
        let current = shard
            .db(db)
            .and_then(|d| d.table.entry(pos))
            .map(EntryRef::value);
        let Some(ValueRef::Str(current)) = current else {
            return Err(WrongType);
        };
        if !matches!(current, StrRef::Heap(_)) {
            let mut bytes = current.to_vec();
            let (result, changed) = change(&mut bytes);
            if changed {
                self.set_value(db, key, Value::Str(Str::Heap(bytes.into())), Expiry::Keep);
            } else {
                self.touch(db, key);
            }
            return Ok(result);
        }
        let edited = shard.edit(db, pos, key, |mut e| {
            e.set_access(options.touched(e.as_ref().access()));
            match e.heap() {
                Some(shared) => {
                    let bytes = std::sync::Arc::make_mut(shared);
                    let before = SizeClass::of(ValueKind::String, bytes.len());
                    let (result, changed) = change(bytes);
                    let after = SizeClass::of(ValueKind::String, bytes.len());
                    let edited = Edited {
                        changed,
                        before,
                        after,
                    };
                    (Some((result, changed)), edited)
                }
                None => (None, Edited::NOTHING),
            }
        });
        match edited {
            Some(Some((result, changed))) => {
                self.counters.dirty += u64::from(changed);
                Ok(result)
            }
            _ => Err(WrongType),
        }
    }

    /// Changes the integer at a key in place. `None` if there is none that is kept as an integer;
    /// then `change` is not called.
    ///
    /// # Errors
    /// Those of `change`, with which nothing is changed.
    pub fn edit_int<E>(
        &mut self,
        db: usize,
        key: &[u8],
        change: impl FnOnce(i64) -> Result<i64, E>,
    ) -> Option<Result<i64, E>> {
        let hash = self.hash(key);
        let pos = self.live(db, hash, key)?;
        let options = &self.options;
        let done = self.locked.shard_for(hash)?.edit(db, pos, key, |mut e| {
            let access = options.touched(e.as_ref().access());
            let Some(current) = e.reborrow().int() else {
                return (None, Edited::NOTHING);
            };
            let old = *current;
            let new = match change(old) {
                Ok(new) => new,
                Err(error) => return (Some(Err(error)), Edited::NOTHING),
            };
            *current = new;
            e.set_access(access);
            let edited = Edited {
                changed: true,
                before: SizeClass::of_int(old),
                after: SizeClass::of_int(new),
            };
            (Some(Ok(new)), edited)
        });
        let done = done.flatten();
        self.counters.dirty += u64::from(matches!(done, Some(Ok(_))));
        done
    }
}
