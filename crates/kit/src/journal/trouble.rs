//! Trouble that tests make at the places where a process or a connection can end. Only tests have it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Trouble of one journal and of what publishes it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// Between the statements of an append, before and after them.
    pub(crate) append: Places,
    /// After an acknowledgement of the bus: the event is there, and we do not hear of it.
    pub(crate) publish: Places,
}

/// Places that are passed, and at which of them something happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<VecDeque<u32>>>);

impl Places {
    /// Something happens each time that so many places more were passed in peace.
    pub(crate) fn harm(&self, after: impl IntoIterator<Item = u32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(after);
    }

    /// Nothing happens any more.
    pub(crate) fn rest(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// One is passed, or not.
    pub(crate) fn pass(&self) -> Result<(), std::io::Error> {
        let mut after = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match after.front_mut() {
            None => Ok(()),
            Some(0) => {
                after.pop_front();
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}
