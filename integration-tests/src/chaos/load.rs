//! Somebody who commands: each command until the bus has acknowledged it, with the same id.

use std::time::Duration;

use anyhow::Result;
use async_nats::{HeaderMap, jetstream};
use bcs_kit::Clock;
use bcs_schemas::CommandId;

use super::{
    order::Order,
    schedule::{Act, Schedule},
};
use crate::harness::{LONG, Poll, wait_until};

/// Who commands, and under which ids.
pub(super) struct Load {
    stream: jetstream::Context,
    clusters: usize,
    orders: Vec<(CommandId, Order)>,
}

/// An answer that does not come within this time is lost.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

impl Load {
    /// Ids are given in the order of numbers.
    pub(super) async fn of(schedule: &Schedule, nats: &str) -> Result<Self> {
        let mut stream = jetstream::new(async_nats::connect(nats).await?);
        stream.set_timeout(ANSWERS_WITHIN);
        let mut orders: Vec<(usize, Order)> = Vec::new();
        for step in &schedule.steps {
            if let Act::Send { number, order } = &step.act {
                orders.push((*number, order.clone()));
            }
        }
        orders.sort_by_key(|(number, _)| *number);
        let clock = Clock::system();
        let orders = orders.into_iter().map(|(_, order)| (CommandId(clock.fresh_id()), order)).collect();
        Ok(Self { stream, clusters: schedule.shape.clusters, orders })
    }

    /// Sends a command until the bus has it.
    pub(super) async fn send(&self, number: usize) -> Result<()> {
        let (id, order) = &self.orders[number];
        wait_until(LONG, &format!("the bus takes #{number}"), async || {
            Poll::from(self.publish(*id, order).await)
        })
        .await
    }

    async fn publish(&self, id: CommandId, order: &Order) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.to_string());
        headers.insert("bcs-actor", "chaos");
        let payload = order.payload(self.clusters).to_string();
        self.stream.publish_with_headers(order.subject(), headers, payload.into()).await?.await?;
        Ok(())
    }

    /// What was commanded about applications, or else about clusters.
    pub(super) fn ids(&self, about_apps: bool) -> Vec<CommandId> {
        let fits = |order: &Order| about_apps != matches!(order, Order::Label { .. });
        self.orders.iter().filter(|(_, order)| fits(order)).map(|(id, _)| *id).collect()
    }
}
