"""The approximation of tanh that the fused kernels use in float32.

x·P(z)/Q(z) with z = x², the minimax fit of tanh(x) in relative error on |x| ≤ 7.8. Beyond, z stays where it is, so that
the quotient grows with x and is cut off at exactly ±1: the derivative 1 - tanh² vanishes there as it should.
"""

LIMIT = 7.8**2
P = (0.9999998807907104, 0.12943117320537567, 0.00296989013440907, 1.1635730515990872e-05)
Q = (1.0, 0.46276354789733887, 0.02389240264892578, 0.00024135476269293576, 2.5262397684855387e-07)
