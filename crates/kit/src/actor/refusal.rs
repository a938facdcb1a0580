//! Why a command is not believed to come from whom it says.

use bcs_schemas::{
    FieldError, Name,
    envelope::header,
    outcome::{Rejection, RejectionCode},
};

/// What is wrong with a claim, or with its absence. The words go on after the name of the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody asks.
    #[error(
        "is missing, and so is {}: this bus takes no command without them; log in with a key that may sign, and sign with it",
        header::ACTOR
    )]
    Anonymous,
    /// Somebody asks, and nobody vouches for it.
    #[error("is missing: on this bus {} is signed with the key that its sender logs in with", header::ACTOR)]
    Missing,
    /// Somebody vouches for nobody.
    #[error("speaks for nobody: expected {} beside it", header::ACTOR)]
    NoActor,
    /// A copy of it would be another command.
    #[error("is for no command in particular: expected {} beside it", header::MESSAGE_ID)]
    NoId,
    /// It cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The key is nobody's.
    #[error(
        "is signed with {0}, which may not sign here: expected a key that is listed in bus.actors of the service"
    )]
    Unknown(String),
    /// It was signed by somebody else, or for another command.
    #[error(
        "does not fit this command: the signature is not one of {0} over this subject, these headers and this payload"
    )]
    Forged(String),
    /// The key may not speak about this.
    #[error("is signed by {user}, who may not speak about project {project}")]
    Elsewhere {
        /// Whose key it is.
        user: String,
        /// What the command is about.
        project: Name,
    },
    /// It came too late.
    #[error(
        "had expired {late} s before the bus took the command: sign it when it is sent, and look at your clock"
    )]
    Expired {
        /// By how much, in seconds.
        late: i64,
    },
    /// It came before it was made.
    #[error("was issued {early} s after the bus took the command: look at your clock")]
    Early {
        /// By how much, in seconds.
        early: i64,
    },
    /// It would hold for ever.
    #[error("would hold for {0} s: expected an expiry after the issue, by at most {max} s", max = super::signers::LONGEST)]
    TooLong(i64),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Malformed(_) => RejectionCode::Invalid,
            _ => RejectionCode::Forbidden,
        };
        Self { code, ..Self::invalid(vec![FieldError::new(header::ACTOR_CLAIM, refusal.to_string())]) }
    }
}
