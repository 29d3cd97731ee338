"""What people read: leaderboards, exports, model cards."""
