//! Questions that are asked again: one that carries an id is worked on once, and all who ask it get the one answer. So
//! whoever asks may do so again whenever an answer may have been lost, and nothing is under way twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

/// An encoded answer, or why there is none. It may be waited for by several.
pub(super) type Answer = Shared<BoxFuture<'static, Result<Bytes, String>>>;

/// A longer one is no id of ours.
const LONGEST: usize = 128;
/// An answer is kept for so long: longer than anybody insists.
const KEPT: Duration = Duration::from_secs(60);
/// And at most so many of them: anybody may make up ids. Beyond that the oldest is forgotten, and worked on again when it is
/// asked again.
const MOST: usize = 4_096;

/// What was asked lately, by id.
#[derive(Default)]
pub(super) struct Repeats(Mutex<Known>);

#[derive(Default)]
struct Known {
    answers: HashMap<String, Answer>,
    /// In the order of their first question.
    begun: VecDeque<(Instant, String)>,
}

impl Repeats {
    /// The answer to the question `id`: the one that is known or on its way already, else what `work` makes.
    pub(super) fn answer<Fut>(&self, id: Option<&str>, work: impl FnOnce() -> Fut) -> Answer
    where
        Fut: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        let Some(id) = id.filter(|id| id.len() <= LONGEST) else { return work().boxed().shared() };
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, old)) = known.begun.pop_front_if(|(begun, _)| now.duration_since(*begun) > KEPT) {
            known.answers.remove(&old);
        }
        if let Some(answer) = known.answers.get(id) {
            return answer.clone();
        }
        if known.begun.len() >= MOST
            && let Some((_, old)) = known.begun.pop_front()
        {
            known.answers.remove(&old);
        }
        let answer = work().boxed().shared();
        known.begun.push_back((now, id.to_owned()));
        known.answers.insert(id.to_owned(), answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn work(done: &Arc<AtomicUsize>) -> impl FnOnce() -> BoxFuture<'static, Result<Bytes, String>> {
        let done = done.clone();
        move || {
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let times = done.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(Bytes::from(times.to_string()))
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_worked_on_once_while_it_is_remembered() {
        let (repeats, done) = (Repeats::default(), Arc::default());
        let first = repeats.answer(Some("a"), work(&done));
        let meanwhile = repeats.answer(Some("a"), work(&done));
        assert_eq!(futures::join!(first, meanwhile), (Ok("1".into()), Ok("1".into())));
        assert_eq!(repeats.answer(Some("a"), work(&done)).await, Ok("1".into()), "and afterwards");
        assert_eq!(repeats.answer(Some("b"), work(&done)).await, Ok("2".into()), "another one");
        tokio::time::advance(KEPT).await;
        assert_eq!(
            repeats.answer(Some("b"), work(&done)).await,
            Ok("3".into()),
            "nobody insists for so long"
        );
        assert_eq!(repeats.0.lock().expect("unharmed").answers.len(), 1, "what is old is forgotten");
    }

    #[tokio::test]
    async fn whoever_makes_up_ids_is_remembered_as_far_as_there_is_room() {
        let repeats = Repeats::default();
        for id in 0..2 * MOST {
            repeats.answer(Some(&id.to_string()), || async { Ok(Bytes::new()) }).await.expect("an answer");
        }
        let known = repeats.0.lock().expect("unharmed");
        assert_eq!((known.answers.len(), known.begun.len()), (MOST, MOST));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_id_each_is_another_question() {
        let (repeats, done) = (Repeats::default(), Arc::default());
        for (id, times) in [(None, "1"), (None, "2"), (Some("x".repeat(LONGEST + 1)), "3")] {
            assert_eq!(repeats.answer(id.as_deref(), work(&done)).await, Ok(times.into()));
        }
        assert!(repeats.0.lock().expect("unharmed").answers.is_empty());
    }
}
