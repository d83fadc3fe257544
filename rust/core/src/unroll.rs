//! Nested groups to a flat sequence of members: left to right, depth first.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::error::Error;

/// Groups that may be open at once.
pub const MAX_DEPTH: usize = 16_384;

/// Positions that a path shows before it leaves out its middle.
const SHOWN_LEVELS: usize = 16;

/// A group that is being walked.
pub trait Frame: Sized {
    /// The type of a member.
    type Leaf;
    /// The error of reading the group.
    type Error;

    /// The group's next item, `None` after the last.
    ///
    /// # Errors
    /// The group's own error, which [`Unroll::next`] hands on.
    fn next(&mut self) -> Result<Option<Step<Self::Leaf, Self>>, Self::Error>;

    /// Tells groups that are alive at the same time apart; an address will do.
    fn identity(&self) -> usize;
}

/// An item of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<L, F> {
    /// A member.
    Leaf(L),
    /// A group inside.
    Group(F),
}

/// Why a walk ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// The frame's own error; [`Unroll::path`] says where.
    Frame(E),
    /// Cycle, depth or size, with the path.
    Canvas(Error),
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Self {
        Self::Canvas(error)
    }
}

/// A member and its `group_index`, `None` after the last.
pub type Next<F> = Result<Option<(u32, <F as Frame>::Leaf)>, Failure<<F as Frame>::Error>>;

#[derive(Debug)]
struct Level<F> {
    frame: F,
    /// Items taken so far; the current one is the last of them.
    taken: u64,
}

/// A walk over a group, resumable between members.
///
/// Memory: one frame per open group. After an error the walk is over: `next` gives `None`.
#[derive(Debug)]
pub struct Unroll<F> {
    levels: Vec<Level<F>>,
    open: HashSet<usize>,
    next_index: u32,
    max_depth: usize,
    max_members: u32,
}

impl<F: Frame> Unroll<F> {
    /// Starts at `root`; members count from 0.
    #[must_use]
    pub fn new(root: F) -> Self {
        Self::with_limits(root, MAX_DEPTH, u32::MAX)
    }

    /// Starts at `root` with other limits: open groups and members.
    #[must_use]
    pub fn with_limits(root: F, max_depth: usize, max_members: u32) -> Self {
        let open = HashSet::from([root.identity()]);
        let levels = vec![Level {
            frame: root,
            taken: 0,
        }];
        Self {
            levels,
            open,
            next_index: 0,
            max_depth,
            max_members,
        }
    }

    /// Members given so far, which is the next one's `group_index`.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.next_index
    }

    /// Whether no member was given yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.next_index == 0
    }

    /// The next member and its `group_index`; `None` after the last.
    ///
    /// # Errors
    /// [`Failure::Frame`] with the group's own error; [`Failure::Canvas`] with [`Error::Cycle`],
    /// [`Error::TooDeep`] or [`Error::TooManyMembers`].
    #[allow(clippy::should_implement_trait)] // an Iterator's `next` cannot fail and be asked for its path
    pub fn next(&mut self) -> Next<F> {
        let result = self.advance();
        if result.is_err() {
            // Positions stay for `path`; there is nothing left to read.
            self.max_depth = 0;
        }
        result
    }

    fn advance(&mut self) -> Next<F> {
        if self.max_depth == 0 {
            return Ok(None);
        }
        while let Some(level) = self.levels.last_mut() {
            level.taken += 1;
            match level.frame.next().map_err(Failure::Frame)? {
                Some(Step::Leaf(leaf)) => return Ok(Some((self.number()?, leaf))),
                Some(Step::Group(frame)) => self.enter(frame)?,
                None => self.leave(),
            }
        }
        Ok(None)
    }

    /// The group that gave the last member; it may give more of its own at once.
    pub fn innermost(&mut self) -> Option<&mut F> {
        self.levels.last_mut().map(|level| &mut level.frame)
    }

    /// Counts one more member of the innermost group, which gave it by itself; returns its
    /// `group_index`.
    ///
    /// # Errors
    /// [`Failure::Canvas`] with [`Error::TooManyMembers`].
    pub fn count_one(&mut self) -> Result<u32, Failure<F::Error>> {
        if let Some(level) = self.levels.last_mut() {
            level.taken += 1;
        }
        self.number()
    }

    fn number(&mut self) -> Result<u32, Failure<F::Error>> {
        let index = self.next_index;
        if index == self.max_members {
            return Err(Error::TooManyMembers {
                path: self.path(),
                limit: index,
            }
            .into());
        }
        self.next_index += 1;
        Ok(index)
    }

    fn enter(&mut self, frame: F) -> Result<(), Failure<F::Error>> {
        if !self.open.insert(frame.identity()) {
            return Err(Error::Cycle { path: self.path() }.into());
        }
        if self.levels.len() == self.max_depth {
            return Err(Error::TooDeep {
                path: self.path(),
                limit: self.max_depth,
            }
            .into());
        }
        self.levels.push(Level { frame, taken: 0 });
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.open.remove(&level.frame.identity());
        }
    }

    /// The path of the current item: `group[3][0]` for the first member of the fourth item.
    ///
    /// A deep path leaves out its middle: `group[0][1] ... 9984 levels ... [0][2]`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::from("group");
        let depth = self.levels.len();
        let hidden = depth.saturating_sub(SHOWN_LEVELS);
        let edge = SHOWN_LEVELS / 2;
        for (at, level) in self.levels.iter().enumerate() {
            if hidden > 0 && at == edge {
                // Writing to a string cannot fail.
                let _ = write!(path, " ... {hidden} levels ... ");
            }
            let is_hidden = hidden > 0 && (edge..edge + hidden).contains(&at);
            if let (false, Some(position)) = (is_hidden, level.taken.checked_sub(1)) {
                let _ = write!(path, "[{position}]");
            }
        }
        path
    }
}
