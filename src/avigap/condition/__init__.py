"""May I amortize? What a function must see to reach the optimum of F-VI (Theorem 3.4), and how that is known."""
