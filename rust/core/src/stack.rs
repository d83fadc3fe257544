//! A small stack that allocates only when a value is nested unusually deep.

/// Levels that cost no allocation; arguments of tasks are rarely nested deeper.
const INLINE: usize = 8;

/// Last in, first out; the first [`INLINE`] items live inside.
#[derive(Debug)]
pub(crate) struct Stack<T> {
    inline: [T; INLINE],
    len: usize,
    spilled: Vec<T>,
}

impl<T: Copy + Default> Stack<T> {
    pub(crate) fn new() -> Self {
        Self {
            inline: [T::default(); INLINE],
            len: 0,
            spilled: Vec::new(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.inline.get_mut(self.len) {
            Some(place) => *place = item,
            None => self.spilled.push(item),
        }
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        match self.inline.get(self.len) {
            Some(item) => Some(*item),
            None => self.spilled.pop(),
        }
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        let top = self.len.checked_sub(1)?;
        match self.inline.get_mut(top) {
            Some(item) => Some(item),
            None => self.spilled.last_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_reverse_across_the_spill() {
        let mut stack = Stack::new();
        for i in 0..3 * INLINE {
            stack.push(i);
            assert_eq!(stack.last_mut(), Some(&mut { i }));
        }
        let back: Vec<_> = std::iter::from_fn(|| stack.pop()).collect();
        assert_eq!(back, (0..3 * INLINE).rev().collect::<Vec<_>>());
        assert_eq!(stack.len(), 0);
    }
}
