//! What can go wrong, in words that say what to do.

use bcs_kit::bus;
use bcs_schemas::{CommandId, FieldError, codec::EncodeError, query::Refused};

/// Why something asked of the platform was not done, or is not known to be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server answered.
    #[error("the bus cannot be reached: is `bcs up` running, and is the address right?")]
    Connect(#[source] bus::Error),
    /// The bus would refuse the message, so it was not sent.
    #[error(
        "the message has {size} bytes and the limit is {limit}: send a reference to large data, not the data"
    )]
    TooLarge {
        /// Size of payload and headers together.
        size: usize,
        /// Largest that is taken.
        limit: usize,
    },
    /// The bus cannot carry this subject, so nothing was sent.
    #[error("{subject:?} is no subject: expected words separated by dots, without spaces")]
    Subject {
        /// Where it was to be published.
        subject: String,
    },
    /// The bus cannot carry this header, so nothing was sent.
    #[error("header {name:?}: expected a name of visible ASCII without ':', and a value of one line")]
    Header {
        /// Name of the header.
        name: String,
    },
    /// The outcome was asked for at an address to which none is sent, so nothing was sent.
    #[error("{0}: nobody could be told the outcome, so send it without waiting for one")]
    ReplyTo(FieldError),
    /// The bus had a message with this id already and dropped this one.
    #[error(
        "the bus has a message with the id {command_id:?} already and dropped this one: \
         its outcome went to whoever sent it first, and is found by nobody else because the id is no UUID"
    )]
    Repeated {
        /// The id.
        command_id: String,
    },
    /// No stream keeps messages on this subject.
    #[error(
        "no stream takes {subject}: is the subject right, and has `bcs up` or a service run on this bus?"
    )]
    NoStream {
        /// Where it was published.
        subject: String,
    },
    /// The bus did not confirm that it keeps the message.
    #[error("the bus did not confirm {subject}: command {command_id} may be repeated with the same id")]
    Unconfirmed {
        /// Where it was published.
        subject: String,
        /// The command.
        command_id: String,
        /// What the bus client says.
        #[source]
        source: async_nats::jetstream::context::PublishError,
    },
    /// The bus keeps the command, and no outcome came in time.
    #[error(
        "command {command_id} has no outcome yet ({reason}): the bus keeps it, and it is decided later. \
         Ask with {subject} {{\"command_id\": \"{command_id}\"}}, or send it again with the same id"
    )]
    NoOutcome {
        /// The command.
        command_id: String,
        /// Where to ask for the stored outcome.
        subject: String,
        /// What is known of the reason.
        reason: String,
    },
    /// Nobody answers questions there.
    #[error("nobody answers {subject}: is `bcs up` or the service running on this bus?")]
    NoService {
        /// Where we asked.
        subject: String,
    },
    /// No answer in time.
    #[error("no answer on {subject} in time: the service is busy or was cut off, ask again")]
    TimedOut {
        /// Where we asked.
        subject: String,
    },
    /// The service cannot answer the question.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// A command cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Anything else between us and the bus.
    #[error(transparent)]
    Bus(bus::Error),
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        match error {
            bus::Error::NoResponder(subject) => Self::NoService { subject },
            bus::Error::TimedOut(subject) => Self::TimedOut { subject },
            other => Self::Bus(other),
        }
    }
}

impl Error {
    /// Whether time ran out while the answer may still come.
    pub const fn timed_out(&self) -> bool {
        matches!(self, Self::NoOutcome { .. } | Self::TimedOut { .. })
    }

    /// The command that may be decided later.
    pub fn command_id(&self) -> Option<CommandId> {
        match self {
            Self::NoOutcome { command_id, .. } | Self::Unconfirmed { command_id, .. } => {
                command_id.parse().ok()
            }
            _ => None,
        }
    }
}
