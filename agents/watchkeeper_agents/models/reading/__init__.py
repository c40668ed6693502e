"""The room of the one that reads raw text. It holds no tool, no action and no case, and a contract
keeps it so."""
