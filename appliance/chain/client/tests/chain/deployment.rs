//! A development network is deployed once, wherever the first try was cut off, and never over something else.

use appliance_model::Icnt;
use chain_client::{Chain, Count, REFERENCE_CLASSES, Registry};

use crate::support::{COIN, Says, between, world, world_bare};

#[tokio::test]
async fn a_deployment_run_twice_changes_nothing() {
    let world = world("twice").await;
    let (grant, operator) = (Icnt::tokens(100_000).unwrap(), world.operator.address());
    let sent = world.chain.transaction_count(world.deployer.address(), Count::Latest).await.unwrap();
    let again = world.chain.deploy_reference(&world.deployer, operator, grant, 1).await.unwrap();
    assert_eq!(again, world.deployment);
    let now = world.chain.transaction_count(world.deployer.address(), Count::Latest).await.unwrap();
    assert_eq!(now, sent);
}

/// Each try gets one transaction through; of every second one the answer is lost, and it is mined all the same.
#[tokio::test]
async fn a_deployment_that_is_cut_off_after_each_transaction_goes_on_where_it_stopped() {
    let bare = world_bare("cut off").await;
    let (grant, operator) = (Icnt::tokens(100_000).unwrap(), bare.operator.address());
    let mut tries = 0;
    let deployment = loop {
        let mut sent = 0;
        let url = between(&bare.url, move |method, _| {
            if method != "eth_sendRawTransaction" {
                return Says::Truth;
            }
            sent += 1;
            match sent {
                1 if tries % 2 == 0 => Says::NothingMore,
                1 => Says::Truth,
                _ => Says::Nothing,
            }
        })
        .await;
        let chain = Chain::connect(&url, bare.chain.id()).await.unwrap();
        match chain.deploy_reference(&bare.deployer, operator, grant, COIN).await {
            Ok(deployment) => break deployment,
            Err(error) => assert!(error.is_down(), "{error}"),
        }
        tries += 1;
        assert!(tries < 40, "it goes on");
    };
    let deployer = bare.deployer.address();
    let sent = bare.chain.transaction_count(deployer, Count::Latest).await.unwrap();
    // Eight contracts, four terms, region and attestor, classes, tokens and gas: nothing twice.
    let classes = u64::try_from(REFERENCE_CLASSES.len()).unwrap();
    assert_eq!(sent, 16 + classes);
    let registry = Registry::open(&bare.chain, deployment.registry).await.unwrap();
    let at = bare.chain.head().await.unwrap();
    for class in REFERENCE_CLASSES {
        registry.terms_at(at, "eu-west", class.class).await.unwrap();
    }
    let funds = registry.funds_at(at, operator, operator).await.unwrap();
    assert_eq!((funds.balance, funds.gas_wei), (grant, COIN));
}

#[tokio::test]
async fn nothing_is_deployed_beside_what_a_key_has_sent_before() {
    let bare = world_bare("used before").await;
    let stranger = world("another").await;
    let call = stranger.registry.approve_call(Icnt(1));
    // The call goes nowhere here, and uses up the deployer's first nonce.
    let fees = bare.chain.fees(crate::support::FEE_CAP).await.unwrap();
    let signed = bare.chain.sign_call(&bare.deployer, &call, 0, fees).await.unwrap();
    bare.chain.broadcast(&signed).await.unwrap();
    let grant = Icnt::tokens(1).unwrap();
    let error = bare.chain.deploy_reference(&bare.deployer, bare.operator.address(), grant, 0).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("IcntMock cannot be made at its place"), "{error}");
    assert!(error.contains("begin with a new development chain"), "{error}");
    assert_eq!(bare.chain.transaction_count(bare.deployer.address(), Count::Pending).await.unwrap(), 1);
}
