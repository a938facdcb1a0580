//! Where people come in who look after a registry: only the sidecar that keeps it has its credentials. The door is open as
//! long as this sidecar keeps the registry; what is asked there waits until the driver is free.

use std::{collections::VecDeque, time::Duration};

use bcs_kit::{Bus, Tasks, telemetry::chain};
use bcs_schemas::{
    FieldError,
    adoption::{RegistryAsk, RegistryTold},
    query::{Answer, Refused},
};
use tokio::sync::{mpsc, oneshot};

use super::AGAIN;

/// How many may wait at once.
const WAITING: usize = 16;
/// How long one waits: a little less than who asks.
const PATIENCE: Duration = Duration::from_secs(50);

/// The door of one worker.
pub(crate) struct Door {
    bus: Bus,
    tasks: Tasks,
    subject: String,
    open: Option<Tasks>,
    sender: mpsc::Sender<Asked>,
    receiver: mpsc::Receiver<Asked>,
    waiting: VecDeque<Asked>,
}

/// A question, and who waits for the answer.
pub(crate) struct Asked {
    pub(crate) ask: RegistryAsk,
    reply: oneshot::Sender<Answer<RegistryTold>>,
}

impl Asked {
    pub(crate) fn answer(self, answer: Answer<RegistryTold>) {
        // Nobody may wait any more.
        let _ = self.reply.send(answer);
    }
}

/// What is not answered, and why.
pub(crate) fn refused(message: impl Into<String>) -> Answer<RegistryTold> {
    Answer::Error(Refused { message: message.into(), fields: Vec::new() })
}

impl Door {
    pub(crate) fn new(bus: &Bus, tasks: &Tasks, subject: String) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            bus: bus.clone(),
            tasks: tasks.clone(),
            subject,
            open: None,
            sender,
            receiver,
            waiting: VecDeque::new(),
        }
    }

    /// Open exactly while this sidecar keeps the registry.
    pub(crate) fn keep_open(&mut self, open: bool) {
        match (open, &self.open) {
            (true, None) => {
                let group = self.tasks.child();
                let (bus, subject, sender) = (self.bus.clone(), self.subject.clone(), self.sender.clone());
                let serving = group.clone();
                group.spawn("sidecar-door", serve(bus, serving, subject, sender));
                self.open = Some(group);
            }
            (false, Some(group)) => {
                group.stopping().cancel();
                self.open = None;
                self.refuse_all("this sidecar does not keep the registry any more: ask again");
            }
            _ => (),
        }
    }

    /// Waits for the next question.
    pub(crate) async fn knock(&mut self) {
        match self.receiver.recv().await {
            Some(asked) => self.waiting.push_back(asked),
            None => std::future::pending().await,
        }
    }

    /// The question whose turn it is.
    pub(crate) fn next(&mut self) -> Option<Asked> {
        self.waiting.pop_front()
    }

    /// Nothing can be answered now.
    pub(crate) fn refuse_all(&mut self, why: &str) {
        while let Ok(asked) = self.receiver.try_recv() {
            self.waiting.push_back(asked);
        }
        self.waiting.drain(..).for_each(|asked| asked.answer(refused(why)));
    }
}

/// Subscribes until it can, and answers until the group stops.
async fn serve(bus: Bus, group: Tasks, subject: String, sender: mpsc::Sender<Asked>) {
    loop {
        let sender = sender.clone();
        let handler = move |asked| hear(sender.clone(), asked);
        match bus.serve(&group, "sidecar-door", subject.clone(), handler).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(error = %chain(&error), subject, "nobody can ask yet, trying again"),
        }
        tokio::select! {
            () = group.stopping().cancelled_owned() => return,
            () = tokio::time::sleep(AGAIN) => (),
        }
    }
}

async fn hear(sender: mpsc::Sender<Asked>, asked: Result<RegistryAsk, FieldError>) -> Answer<RegistryTold> {
    let ask = match asked {
        Ok(ask) => ask,
        Err(error) => return Answer::Error(Refused { message: error.to_string(), fields: vec![error] }),
    };
    let (reply, answer) = oneshot::channel();
    if sender.try_send(Asked { ask, reply }).is_err() {
        return refused(format!("{WAITING} others ask about this registry already: ask again later"));
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            refused("this sidecar was replaced or lost the registry meanwhile: look again what came of it")
        }
        Err(_) => refused("the registry did not come to it in time: look again what came of it"),
    }
}
