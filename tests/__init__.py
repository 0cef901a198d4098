"""The tests of taskq and taskq_kafka, in tiers: unit, contract, integration, scenarios, examples, typing."""
