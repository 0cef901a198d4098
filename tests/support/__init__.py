"""What the tests stand on: a real Kafka, a proxy in front of it, processes that can be killed, a ledger of what ran."""
