//! Work that others rely on: where it dies of a panic, they are told and never wait for ever.
//!
//! A panic is a bug in this program. It ends the task that it happens in and nothing else, so whatever many wait for
//! has to say what becomes of them: a task that the node cannot be without ends the node ([`spawn`]); one that is begun
//! anew when it is needed ends those who wait now ([`Unless`]).

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// Runs `work` as a task of its own; `died` is told what the panic said where it ends by one.
pub fn spawn(
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
    died: impl FnOnce(String) + Send + 'static,
) {
    tokio::spawn(async move {
        if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
            died(format!("{name} ended by a bug in this program: {}", panic_text(&*panic)));
        }
    });
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Does something when it is dropped, unless the work was done before: also where a panic unwinds.
pub struct Unless<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Unless<F> {
    /// Does `then` unless [`done`](Unless::done) is called.
    pub fn new(then: F) -> Self {
        Unless(Some(then))
    }

    /// The work was done.
    pub fn done(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Unless<F> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_with_the_name_of_what_died_and_an_end_is_not() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let tell = |told: &tokio::sync::mpsc::UnboundedSender<String>| {
            let told = told.clone();
            move |why| told.send(why).unwrap()
        };
        spawn("the sampler", async { panic!("no figure {}", 7) }, tell(&told));
        spawn("the journal", async {}, tell(&told));
        drop(told);
        let why = heard.recv().await.unwrap();
        assert!(why.starts_with("the sampler ended") && why.ends_with("no figure 7"), "{why}");
        assert_eq!(heard.recv().await, None);
    }

    #[tokio::test]
    async fn who_waits_for_work_that_dies_is_let_go() {
        let (mut waiting, mut done) = (0, 0);
        Unless::new(|| done += 1).done();
        drop(Unless::new(|| waiting += 1));
        assert_eq!((waiting, done), (1, 0));
        let (told, heard) = tokio::sync::oneshot::channel();
        let dies = tokio::spawn(async move {
            let _waiting = Unless::new(move || told.send("gone").unwrap());
            tokio::task::yield_now().await;
            panic!("a bug");
        });
        assert!(dies.await.is_err());
        assert_eq!(heard.await.unwrap(), "gone");
    }
}
