//! Whose fault it is when a database refuses: that of what it was given, or its own.

use sqlx::{Error, error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

/// Whether the statement or its data is at fault: every repeat fails in the same way. Anything else is trouble of the
/// database or of the way there, and passes.
pub(super) fn is_of_the_data(error: &Error) -> bool {
    match error {
        Error::Encode(_) | Error::Decode(_) | Error::ColumnDecode { .. } | Error::InvalidArgument(_) => true,
        Error::Database(error) => refuses_the_data(&**error),
        _ => false,
    }
}

fn refuses_the_data(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        // Data exception, integrity constraint, limits of the program: https://www.postgresql.org/docs/15/errcodes-appendix.html
        return ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    }
    if error.try_downcast_ref::<SqliteError>().is_some() {
        // TOOBIG, CONSTRAINT, MISMATCH, RANGE, in the low byte of https://www.sqlite.org/rescode.html
        return code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 18 | 19 | 20 | 25));
    }
    false
}
