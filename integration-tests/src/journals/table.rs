//! The tables of a journal, whatever columns they have: out of an SQLite file, and into a database of either kind.

use anyhow::{Context, Result, bail};
use bcs_schemas::Service;
use serde_json::{Map, Value};
use sqlx::{AnyConnection, AssertSqlSafe, Column, Connection, Row as _, any::AnyRow};

use super::recording::{Recording, Row, bytes, from_bytes};

/// The statements that make the tables, and every row.
pub(super) async fn dump(url: &str) -> Result<(Vec<String>, Vec<Row>)> {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await?;
    let made = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid";
    let (mut tables, mut rows) = (Vec::new(), Vec::new());
    for row in sqlx::query(made).fetch_all(&mut database).await? {
        let (what, name, sql): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        tables.push(sql.split_whitespace().collect::<Vec<_>>().join(" "));
        if what == "table" {
            let all = format!("SELECT * FROM {name} ORDER BY rowid");
            for row in sqlx::query(AssertSqlSafe(all)).fetch_all(&mut database).await? {
                rows.push(Row::new(&name, columns(&row)?));
            }
        }
    }
    database.close().await?;
    Ok((tables, rows))
}

fn columns(row: &AnyRow) -> Result<Map<String, Value>> {
    let mut values = Map::new();
    for (at, column) in row.columns().iter().enumerate() {
        let number = row.try_get::<i64, _>(at).map(Value::from);
        let text = number.or_else(|_| row.try_get::<String, _>(at).map(Value::from));
        let value = text.or_else(|_| row.try_get::<Vec<u8>, _>(at).map(|bytes| from_bytes(&bytes)));
        values.insert(column.name().to_owned(), value.with_context(|| format!("column {}", column.name()))?);
    }
    Ok(values)
}

impl Recording {
    /// Makes the journal of `service` in an empty database at `url`, as the version that was recorded would have left it there.
    pub async fn put(&self, url: &str, service: Service) -> Result<()> {
        sqlx::any::install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        let place = if sqlite { format!("{url}?mode=rwc") } else { url.to_owned() };
        let mut database = AnyConnection::connect(&place).await?;
        let mut transaction = database.begin().await?;
        if !sqlite {
            let schema = format!("bcs_{service}");
            for sql in [format!("CREATE SCHEMA {schema}"), format!("SET LOCAL search_path TO {schema}")] {
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
            }
        }
        for table in &self.tables {
            // The one type that has another name there.
            let sql = if sqlite { table.clone() } else { table.replace(" BLOB", " BYTEA") };
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await.context(table.clone())?;
        }
        for row in &self.rows {
            let names: Vec<&str> = row.columns.keys().map(String::as_str).collect();
            let places: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
            let sql =
                format!("INSERT INTO {} ({}) VALUES ({})", row.table, names.join(", "), places.join(", "));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for value in row.columns.values() {
                query = match value {
                    Value::Number(number) => query.bind(number.as_i64().context("is no integer")?),
                    Value::String(text) => query.bind(text.clone()),
                    value => match bytes(value) {
                        Some(bytes) => query.bind(bytes?),
                        None => bail!("{value} fits into no column"),
                    },
                };
            }
            query.execute(&mut *transaction).await.with_context(|| format!("{:?}", row.columns))?;
        }
        transaction.commit().await?;
        Ok(database.close().await?)
    }
}
