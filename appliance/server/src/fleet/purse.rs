//! What a fleet is paid from: the owner's deposit.  Where that is short and the operator is the owner, what the whole fleet
//! lacks is deposited once, by a permit where the token takes them, and no batch needs an approval of its own; where a
//! day's limits do not let so much through, as much as they do, and a batch has no more hosts than they allow.  What is
//! left of it, because hosts were left out, stays in the deposit, which only the owner takes anything from.

use appliance_model::Icnt;
use appliance_store::StoreError;
use chain_client::{Block, Funds, Network, Source};
use chain_fleet::{
    batch::{BATCH_MAX, State},
    purse::{Left, Purse, purse},
};
use chain_sender::{JobId, NoJobId, Urgency};

use super::{Held, NODE_GAS, Turn};
use crate::{chain_of, sending, signing};

/// The names of the approval and of the deposit.
fn names(fleet: u64) -> Result<(JobId, JobId), NoJobId> {
    let deposit = JobId::try_from(format!("fleet {fleet} deposit"))?;
    Ok((JobId::try_from(format!("{deposit} approve"))?, deposit))
}

/// Whether a call of this name is of a fleet's deposit.
pub(crate) fn is_deposit(id: &JobId) -> bool {
    let rest = id.as_str().strip_prefix("fleet ").and_then(|rest| rest.split_once(' '));
    rest.is_some_and(|(_, what)| what.starts_with("deposit"))
}

/// Today's limits for the operator.
struct Today {
    /// Nodes and stakes.
    left: Left,
    /// What may go into the deposit.
    movable: Icnt,
}

impl Turn<'_> {
    /// What the owner's limits and the book of signatures leave of today.
    async fn today(&self, network: &Network, funds: &Funds, stakes: &[Icnt]) -> Result<Today, StoreError> {
        let granted = funds.grant.map_or(Left::ALL, |grant| Left {
            nodes: grant.registrations_per_day.saturating_sub(grant.registrations).into(),
            stake: Icnt(grant.collateral_per_day.0.saturating_sub(grant.collateral.0)),
        });
        let Some(permissions) = signing::left(self.app).await? else {
            return Ok(Today { left: granted, movable: Icnt(u128::MAX) });
        };
        let cap = self.app.chain.fee_cap();
        let price = network.chain().fees(cap).await.map_or(cap, |fees| fees.max_fee_per_gas);
        // With the margin that a signature has above what was estimated.
        let gas_wei = price.saturating_mul(NODE_GAS + NODE_GAS / 5).max(1);
        let each = permissions.into_iter().map(|left| {
            let by_gas = u64::try_from(left.gas_wei / gas_wei).unwrap_or(u64::MAX);
            let nodes = u64::from(left.registrations).min(by_gas);
            let movable = Icnt(left.moved.0.min(left.allowed.0));
            Today { left: granted.and(Left { nodes, stake: left.staked }), movable }
        });
        // One of them has to cover a call alone.
        let most = each.max_by_key(|today| (today.left.room(stakes, BATCH_MAX), today.movable));
        Ok(most.unwrap_or(Today { left: Left { nodes: 0, stake: Icnt(0) }, movable: Icnt(0) }))
    }

    /// Sees to it that the deposit has enough for the next batch, and says how many hosts that may have.
    pub(super) async fn fill_purse(
        &self,
        network: &Network,
        head: Block,
        most: usize,
    ) -> Result<Result<usize, String>, StoreError> {
        let (owner, operator) = (self.app.chain.owner(), self.app.chain.operator().address());
        let funds = match network.funds_at(head, owner, operator).await {
            Ok(funds) => funds,
            Err(error) => return Ok(Err(chain_of(&error))),
        };
        let waiting = self.members.iter().filter(|member| matches!(member.state, State::Waiting { .. }));
        let stakes: Vec<Icnt> = waiting.map(|member| member.collateral).collect();
        let today = self.today(network, &funds, &stakes).await?;
        let room = today.left.room(&stakes, most);
        // An operator who is not the owner brings nothing: as many go as the deposit is enough for, and where that is
        // nobody, the contract says what is missing.
        if owner != operator {
            let deposited = Left { stake: funds.deposit, ..Left::ALL };
            return Ok(Ok(today.left.and(deposited).room(&stakes, most)));
        }
        match purse(&stakes, room, funds.deposit, today.movable) {
            Purse::Enough(room) => Ok(Ok(room)),
            Purse::Lacks(missing) => Ok(self.deposit(network, head, missing).await?.map(|()| room)),
        }
    }

    /// Puts `missing` into the deposit, once, and says how far that is.
    async fn deposit(&self, network: &Network, head: Block, missing: Icnt) -> Result<Held, StoreError> {
        let (approve, deposit) = match names(self.row.id) {
            Ok(names) => names,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Some(job) = sending::state(self.app, &deposit).await? else {
            let _purse = self.app.chain.purse().await;
            if let Some(other) = sending::spending(self.app, &[&approve, &deposit]).await? {
                return Ok(Err(format!("\"{}\" goes first", other.as_str())));
            }
            return self.put_in(network, head, missing, (approve, deposit)).await;
        };
        use chain_sender::State as Sent;
        let why = match &job.state {
            Sent::Refused { sentence, .. } => sentence.clone(),
            Sent::Reverted(place) => format!("transaction {} was undone by the contract", place.hash),
            Sent::Dead { why } => why.clone(),
            Sent::Found | Sent::Settled(_) => {
                "what was deposited for it went into other nodes; it is deposited anew".into()
            }
            Sent::Queued { .. } | Sent::Sent(_) | Sent::Included { .. } => {
                return Ok(Err(format!(
                    "the deposit of what it takes is on its way: {}",
                    sending::waits_for(self.app, &job.state)
                )));
            }
        };
        sending::forget(self.app, &deposit).await?;
        sending::forget(self.app, &approve).await?;
        Ok(Err(why))
    }

    async fn put_in(
        &self,
        network: &Network,
        head: Block,
        missing: Icnt,
        (approve, deposit): (JobId, JobId),
    ) -> Result<Held, StoreError> {
        let (owner, key) = (self.app.chain.owner(), self.app.chain.operator());
        let calls = async {
            let mut funds = network.funds_at(head, owner, key.address()).await?;
            // Tokens from outside: what is in the deposit is not deposited again.
            funds.deposit = Icnt(0);
            let source = network.source(&funds, missing).await?;
            let payment = network.pay(key, source, missing, head).await?;
            let approve = (source == Source::Approval && funds.allowance < missing)
                .then(|| network.approve_call(missing));
            Ok::<_, chain_client::Error>((approve, network.deposit_call(missing, &payment)?))
        };
        let (first, call) = match calls.await {
            Ok(calls) => calls,
            Err(error) => return Ok(Err(chain_of(&error))),
        };
        let needs = first.is_some().then(|| approve.clone());
        if let Some(first) = first {
            sending::queue(self.app, approve, first, None, Urgency::Soon).await?;
        }
        sending::queue(self.app, deposit, call, needs, Urgency::Soon).await?;
        Ok(Err(format!("{missing} go into the deposit first, once for all of it")))
    }
}
