//! Entries between two ids, in either direction.

use super::block::{Block, Raw, Raws};
use super::blocks::{Blocks, Steps, Which};
use super::id::StreamId;

/// The entries between two ids, both included, that are not deleted.
pub struct Range<'a> {
    walk: Steps<'a>,
    from: StreamId,
    to: StreamId,
    place: Place<'a>,
}

/// Where a range stands within the block of its walk.
enum Place<'a> {
    Forward(Option<Raws<'a>>),
    Backward(Option<Noted<'a>>),
}

/// A block whose entries are read backward.
struct Noted<'a> {
    block: &'a Block,
    /// Whether the last entry has been read.
    begun: bool,
    /// Where those in front of it begin; noted when somebody wants more than the last.
    places: Option<Vec<(usize, StreamId)>>,
}

impl<'a> Range<'a> {
    pub(super) fn new(
        blocks: &'a Blocks,
        from: StreamId,
        to: StreamId,
        reverse: bool,
    ) -> Range<'a> {
        let begin = if reverse { to } else { from };
        let walk = blocks.walk(Which::Of(begin));
        let block = walk.current();
        let place = if reverse {
            Place::Backward(block.map(Noted::new))
        } else {
            Place::Forward(block.map(Block::raws))
        };
        Range {
            walk,
            from,
            to,
            place,
        }
    }

    fn next_forward(&mut self) -> Option<Raw<'a>> {
        loop {
            let Place::Forward(raws) = &mut self.place else {
                return None;
            };
            for raw in raws.as_mut()? {
                if raw.id > self.to {
                    *raws = None;
                    return None;
                }
                if raw.id >= self.from && !raw.deleted {
                    return Some(raw);
                }
            }
            self.walk.forward();
            *raws = self.walk.current().map(Block::raws);
        }
    }

    fn next_backward(&mut self) -> Option<Raw<'a>> {
        loop {
            let Place::Backward(noted) = &mut self.place else {
                return None;
            };
            let here = noted.as_mut()?;
            while let Some(place) = here.pop() {
                let Some(raw) = here.block.raws_from(place).next() else {
                    continue;
                };
                if raw.id < self.from {
                    *noted = None;
                    return None;
                }
                if raw.id <= self.to && !raw.deleted {
                    return Some(raw);
                }
            }
            self.walk.backward();
            *noted = self.walk.current().map(Noted::new);
        }
    }
}

impl<'a> Noted<'a> {
    fn new(block: &'a Block) -> Noted<'a> {
        Noted {
            block,
            begun: false,
            places: None,
        }
    }

    /// The place of the next entry, the last one first.
    fn pop(&mut self) -> Option<(usize, StreamId)> {
        if !self.begun {
            self.begun = true;
            return self.block.last_place();
        }
        self.places.get_or_insert_with(|| noted(self.block)).pop()
    }
}

/// Where all entries of a block begin but the last.
fn noted(block: &Block) -> Vec<(usize, StreamId)> {
    let mut raws = block.raws();
    let mut places = Vec::with_capacity(block.live() as usize + block.deleted() as usize);
    let mut place = raws.at;
    while raws.next().is_some() {
        places.push(place);
        place = raws.at;
    }
    places.pop();
    places
}

impl<'a> Iterator for Range<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        match self.place {
            Place::Forward(_) => self.next_forward(),
            Place::Backward(_) => self.next_backward(),
        }
    }
}
