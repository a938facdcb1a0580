//! Reads of some of the decisions: about one object, of one command, since some time, from either end.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Error, Journal, Row,
    store::{EVENT_COLUMNS, event, failed, signed},
};

/// Which decisions are meant; each field that is given leaves fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// About this object: `demo/app/shop-web`. Found by an index.
    pub target: Option<String>,
    /// The event with this id, or those of the command with this id. Every row is looked at.
    pub id: Option<Uuid>,
    /// Decided in this second or later. Every row is looked at.
    pub since: Option<Timestamp>,
    /// Behind this position: above it, or below it when the newest come first.
    pub after: Option<u64>,
    /// The newest first.
    pub newest_first: bool,
    /// At most so many.
    pub limit: u32,
}

enum Value {
    Number(i64),
    Text(String),
}

impl Selection {
    /// The conditions, with the values of their places.
    fn conditions(&self, shard: u32) -> (String, Vec<Value>) {
        let (mut sql, mut values) = ("shard = $1".to_owned(), vec![Value::Number(i64::from(shard))]);
        let mut and = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(" AND {}", condition.replace('?', &format!("${}", values.len()))));
        };
        if let Some(target) = &self.target {
            and("target = ?", Value::Text(target.clone()));
        }
        if let Some(id) = self.id {
            and("(id = ? OR command_id = ?)", Value::Text(id.to_string()));
        }
        if let Some(since) = self.since {
            // Instants are kept as text with as many digits as they need: only whole seconds compare.
            and("decided_at >= ?", Value::Text(since.strftime("%Y-%m-%dT%H:%M:%S").to_string()));
        }
        if let Some(after) = self.after {
            and(if self.newest_first { "seq < ?" } else { "seq > ?" }, Value::Number(signed(after)));
        }
        (sql, values)
    }
}

impl Journal {
    /// The decisions that fit, in the order that was asked for.
    pub async fn select(&self, selection: &Selection) -> Result<Vec<Row>, Error> {
        let (conditions, values) = selection.conditions(self.shard());
        let order = if selection.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE {conditions} ORDER BY seq {order} LIMIT {}",
            selection.limit
        );
        let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        });
        let rows = query.fetch_all(self.readers()).await;
        rows.map_err(failed("reading the journal"))?.iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests;
