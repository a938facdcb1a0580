//! One page of a list: as many things as were asked for and fit into one message.

use serde::Serialize;

/// Bytes of a page, counted as JSON: well below what an answer may have, since its frame needs room too.
const ROOM: usize = 900_000;

/// Things that answer a list question, in the order of their positions.
#[derive(Debug)]
pub struct Page<T> {
    limit: Option<usize>,
    bytes: usize,
    items: Vec<T>,
    last: Option<String>,
    more: bool,
}

impl<T: Serialize> Page<T> {
    /// Without a limit everything belongs on one page: whoever asks like that would take a part for the whole.
    pub(super) fn new(limit: Option<u32>) -> Self {
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX).max(1));
        Self { limit, bytes: 0, items: Vec::new(), last: None, more: false }
    }

    /// Adds one thing. Whether there was room: when not, it belongs on the next page, and so does all that follows. The
    /// position names it among all others; the next page begins after the last position of this one.
    #[must_use]
    pub fn add(&mut self, position: impl FnOnce() -> String, item: T) -> bool {
        if let Some(limit) = self.limit {
            // What cannot be written is found out when the answer is.
            self.bytes += serde_json::to_vec(&item).map_or(0, |text| text.len());
            // A page holds at least one, or the list would never end.
            self.more = self.items.len() >= limit || (self.bytes > ROOM && !self.items.is_empty());
            if self.more {
                return false;
            }
            self.last = Some(position());
        }
        self.items.push(item);
        true
    }

    /// What is on it, and after which position the next one begins.
    pub(super) fn end(self) -> (Vec<T>, Option<String>) {
        (self.items, self.last.filter(|_| self.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of these things, each at its number.
    fn pages(all: &[String], limit: Option<u32>) -> Vec<usize> {
        let (mut lengths, mut from) = (Vec::new(), 0);
        loop {
            let mut page = Page::new(limit);
            for (at, item) in all.iter().enumerate().skip(from) {
                if !page.add(|| at.to_string(), item) {
                    break;
                }
            }
            let (items, next) = page.end();
            lengths.push(items.len());
            match next {
                Some(last) => from = last.parse::<usize>().expect("a number") + 1,
                None => return lengths,
            }
        }
    }

    #[test]
    fn pages_hold_as_many_as_asked_for_and_as_fit() {
        let (small, big) = (vec!["x".to_owned(); 5], vec!["x".repeat(400_000); 5]);
        let huge = vec!["x".repeat(2_000_000); 2];
        assert_eq!(pages(&small, None), [5]);
        assert_eq!(pages(&small, Some(2)), [2, 2, 1]);
        assert_eq!(pages(&small, Some(5)), [5], "the last page says that it is the last");
        assert_eq!(pages(&small, Some(0)), [1, 1, 1, 1, 1]);
        assert_eq!(pages(&big, Some(100)), [2, 2, 1]);
        assert_eq!(pages(&big, None), [5], "never a part for the whole");
        assert_eq!(pages(&huge, Some(9)), [1, 1]);
        assert_eq!(pages(&[], Some(9)), [0]);
    }
}
